"""One whole body, or several objects after all."""

from __future__ import annotations

import json

import pytest

from proxy.framing import Frame, Marked, document
from proxy.framing.document import Document


def fed(*chunks: bytes, watch: bool = True) -> tuple[list[Frame], bool]:
    framer = Document(watch=watch)
    frames = [frame for chunk in chunks for frame in framer.feed(chunk)] + list(framer.close())
    return frames, framer.streamed


def test_a_body_comes_out_whole_at_its_end() -> None:
    framer = Document()
    assert list(framer.feed(b'{"a":')) == []
    assert list(framer.feed(b"1}\n")) == []
    assert list(framer.close()) == [b'{"a":1}\n']
    assert not framer.streamed


def test_nothing_and_white_space_are_no_body() -> None:
    assert fed() == ([], False)
    assert fed(b"\n \n") == ([], False)


@pytest.mark.parametrize("chunks", [[b'{"a":1}', b'{"b":2}'], [b'{"a":1}{"b":2}'], [b'{"a":1}\n', b'{"b":2}'],
                                    [b'{"a":1}\n{"b":2}\n'], [b'{"a"', b':1}{"b', b'":2}']])  # fmt: skip
def test_a_second_object_makes_it_a_stream(chunks: list[bytes]) -> None:
    frames, streamed = fed(*chunks)
    assert ([json.loads(frame) for frame in frames], streamed) == ([{"a": 1}, {"b": 2}], True)  # type: ignore[arg-type]


def test_the_first_object_comes_out_when_the_second_begins() -> None:
    framer = Document()
    assert list(framer.feed(b'{"a":1}')) == []
    assert list(framer.feed(b'{"b"')) == [b'{"a":1}']


def test_braces_inside_a_string_are_no_second_object() -> None:
    body = json.dumps({"code": "if(x){}{}" * 40}).encode()
    assert fed(body) == ([body], False)
    assert fed(*(body[at : at + 7] for at in range(0, len(body), 7))) == ([body], False)


def test_a_body_of_known_length_is_not_watched() -> None:
    assert fed(b'{"a":1}{"b":2}', watch=False) == ([b'{"a":1}{"b":2}'], False)


def test_a_body_too_long_is_salvaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_BODY", 1 << 20)
    row = b"0.123456789," * 100
    body = b'{"model":"e","data":[' + row * 1000 + b'0],"usage":{"prompt_tokens":8,"total_tokens":8}}'
    for size in (1 << 14, 1 << 20, len(body)):
        frames, _ = fed(*(body[at : at + size] for at in range(0, len(body), size)))
        assert frames[1] == Marked("fault", b"body_too_long")
        assert isinstance(frames[0], Marked)
        assert json.loads(frames[0].data) == {"model": "e", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
