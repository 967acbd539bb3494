"""One JSON object per line."""

from __future__ import annotations

from hypothesis import given, strategies as st

from proxy.framing import Frame, Marked
from proxy.framing.lines import MAX_LINE, Lines


def fed(*chunks: bytes) -> list[Frame]:
    framer = Lines()
    return [frame for chunk in chunks for frame in framer.feed(chunk)] + list(framer.close())


@given(lines=st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=8), data=st.data())
def test_lines_come_out_wherever_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    body = b"\n".join(lines)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6).map(sorted))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert fed(*pieces) == [line for line in lines if line and not line.isspace()]


def test_a_line_comes_out_with_its_end() -> None:
    framer = Lines()
    assert list(framer.feed(b'{"a":1}\n{"b"')) == [b'{"a":1}']
    assert list(framer.feed(b":2}\r\n")) == [b'{"b":2}\r']


def test_a_line_too_long_is_salvaged_and_reading_goes_on() -> None:
    body = b'{"x":"' + b"a" * MAX_LINE + b'","usage":{"prompt_tokens":1}}\n{"b":2}\n'
    for size in (1 << 12, 1 << 19, len(body)):
        frames = fed(*(body[at : at + size] for at in range(0, len(body), size)))
        assert frames[0] == Marked("salvage", b'{"usage":{"prompt_tokens":1}}')
        assert frames[1:] == [Marked("fault", b"line_too_long"), b'{"b":2}']
