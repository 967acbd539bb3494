"""Concatenated JSON objects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from proxy.framing import Frame, Marked, concat
from proxy.framing.concat import Concat, split

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text(max_size=5), values, max_size=3), max_size=5)


def fed(*chunks: bytes) -> list[Frame]:
    framer = Concat()
    return [frame for chunk in chunks for frame in framer.feed(chunk)] + list(framer.close())


@given(found=objects, separator=st.sampled_from([b"", b"\n", b" \r\n\t"]), ascii=st.booleans(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_objects_come_out_as_they_went_in(
    found: list[dict[str, Any]], separator: bytes, ascii: bool, data: st.DataObject
) -> None:
    body = separator.join(json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass") for value in found)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8).map(sorted))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    frames = fed(*pieces)
    assert [json.loads(frame.decode("utf-8", "surrogatepass")) for frame in frames] == found  # type: ignore[union-attr]


@given(body=st.binary(max_size=200) | st.lists(st.sampled_from([b"{", b"}", b'"', b"\\", b"a", b" "])).map(b"".join),
       cut=st.integers(0, 200))  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_any_bytes_cut_anywhere_give_the_same_objects(body: bytes, cut: int) -> None:
    def kept(frames: list[Frame]) -> list[Frame]:
        return [frame for frame in frames if not isinstance(frame, Marked)]

    assert kept(fed(body[:cut], body[cut:])) == kept(list(split(body)))
    assert (Marked("fault", b"stray_bytes") in fed(body[:cut], body[cut:])) == (
        Marked("fault", b"stray_bytes") in split(body)
    )


def test_each_object_comes_out_with_its_last_brace() -> None:
    framer = Concat()
    assert list(framer.feed(b'{"a":"}{"')) == []
    assert list(framer.feed(b"}")) == [b'{"a":"}{"}']
    assert list(framer.feed(b'{"b":"\\')) == []
    assert list(framer.feed(b'"}"}{')) == [b'{"b":"\\"}"}']


def test_what_lies_between_objects_is_noted() -> None:
    assert fed(b'oops {"a":1}') == [Marked("fault", b"stray_bytes"), b'{"a":1}']


def test_an_object_too_long_is_salvaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concat, "MAX_OBJECT", 1000)
    long = b'{"id":"i","x":"' + b"y" * 2000 + b'","usage":{"input_tokens":1}}'
    for size in (1, 100, 5000):
        body = long + b'{"b":2}'
        frames = fed(*(body[at : at + size] for at in range(0, len(body), size)))
        assert frames[0] == Marked("salvage", b'{"id":"i","usage":{"input_tokens":1}}')
        assert frames[1:] == [Marked("fault", b"object_too_long"), b'{"b":2}']
