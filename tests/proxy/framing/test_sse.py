"""Server-sent events, against the HTML standard's rules, the oddities of providers, and OpenAI's own decoder."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings, strategies as st
from openai._streaming import SSEDecoder

from proxy.framing import Frame, Marked
from proxy.framing.sse import MAX_EVENT, MAX_LINE, Sse


def split(*chunks: bytes) -> list[Frame]:
    sse = Sse()
    return [frame for chunk in chunks for frame in sse.feed(chunk)] + list(sse.close())


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b'data: {"a":1}\n\n', [b'{"a":1}']),
        (b'data:{"a":1}\n\n', [b'{"a":1}']),
        (b"data:  two\n\n", [b" two"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\rdata: b\r\r", [b"a\nb"]),
        (b"data: a\ndata:b\ndata\ndata: c\n\n", [b"a\nb\n\nc"]),
        (b": comment\n\ndata: a\n\n:\n\n", [b"a"]),
        (b"event: done\ndata: [DONE]\n\n", [b"[DONE]"]),
        (b"event: x\n\ndata: a\n\n", [b"a"]),
        (b"id: 1\nretry: 5\ndata: a\nfoo: bar\n\n", [b"a"]),
        (b"data: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"\n\ndata: a\n\n", [b"a"]),
        (b"data: last", [b"last"]),
        (b"data: last\n", [b"last"]),
        (b"event: error\ndata: overloaded\n\n", [Marked("error", b"overloaded")]),
        (b"event:error\ndata:x\n\ndata: y\n\n", [Marked("error", b"x"), b"y"]),
        (b'data: a\n\n{"error":{"code":8}}\n', [b"a", b'{"error":{"code":8}}']),
        (b'data: a\n\n{\n  "error": {\n    "code": 8\n  }\n}\n', [b"a", b'{\n  "error": {\n    "code": 8\n  }\n}']),
        (b'{\n "a": 1\ndata: b\n\n', [b'{\n "a": 1', b"b"]),
    ],
)
def test_streams_split_into_events_wherever_they_are_cut(stream: bytes, frames: list[Frame]) -> None:
    assert split(stream) == frames
    assert split(*(stream[at : at + 1] for at in range(len(stream)))) == frames
    for cut in range(len(stream)):
        assert split(stream[:cut], stream[cut:]) == frames


def test_a_line_too_long_is_salvaged_and_reading_goes_on() -> None:
    long = b'data: {"model":"m","x":"' + b"a" * MAX_LINE + b'","usage":{"prompt_tokens":3}}\n\ndata: next\n\n'
    for size in (1000, 65536, len(long)):
        frames = split(*(long[at : at + size] for at in range(0, len(long), size)))
        assert [frame.kind if isinstance(frame, Marked) else frame for frame in frames] == ["salvage", "fault", b"next"]
        assert isinstance(frames[0], Marked)
        assert json.loads(frames[0].data) == {"model": "m", "usage": {"prompt_tokens": 3}}


def test_an_event_too_long_is_dropped_and_reading_goes_on() -> None:
    line = b"data: " + b"a" * (MAX_EVENT // 2) + b"\n"
    assert split(line * 3 + b"\ndata: next\n\n") == [Marked("fault", b"event_too_long"), b"next"]


lines = st.sampled_from(
    [b"data: x", b"data:y", b"data", b"data:", b"event: message", b"event:delta", b": c", b"id: 1", b"", b""]
)
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    end = draw(ends)
    body = b"".join(line + end for line in draw(st.lists(lines, max_size=24)))
    cuts = draw(st.lists(st.integers(0, len(body)), max_size=8).map(sorted))
    return [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]


@given(chunks=streams())
@example(chunks=[b"data: x\r", b"\n", b"\r", b"\ndata: y\r\n\r\n"])
@example(chunks=[b"data: x\r", b"", b"\ndata: y\r\n\r\n"])
@settings(max_examples=300, deadline=None)
def test_the_openai_sdk_reads_the_same_events(chunks: list[bytes]) -> None:
    whole = [*chunks, b"\n\n"]  # theirs drops a last event that has no blank line
    theirs = [event.data.encode() for event in SSEDecoder().iter_bytes(iter([b"".join(whole)])) if event.data]
    assert [frame for frame in split(*whole) if frame] == theirs


@given(stream=st.binary(max_size=300), cut=st.integers(0, 300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_cut_anywhere_give_the_same_frames(stream: bytes, cut: int) -> None:
    assert split(stream[:cut], stream[cut:]) == split(stream)


alphabet = st.sampled_from(
    [b"data: ", b"data:", b"{", b"}", b'"', b"\n", b"\r", b"\r\n", b"\n\n", b"event: error", b":", b"a"]
)


@given(parts=st.lists(alphabet, max_size=40), data=st.data())
@settings(max_examples=400, deadline=None)
def test_stream_like_bytes_cut_anywhere_give_the_same_frames(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6).map(sorted))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert split(*pieces) == split(stream)
