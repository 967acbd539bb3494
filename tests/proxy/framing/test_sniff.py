"""Which framing an answer has."""

from __future__ import annotations

import pytest

from proxy.framing import BareText, Opaque
from proxy.framing.concat import Concat
from proxy.framing.document import Document
from proxy.framing.json_array import JsonArray
from proxy.framing.lines import Lines
from proxy.framing.sniff import BOM, Sniffer
from proxy.framing.sse import Sse


@pytest.mark.parametrize(
    ("content_type", "first", "framing"),
    [
        ("text/event-stream; charset=utf-8", b"data: x\n\n", Sse),
        ("Text/Event-Stream", b"retry: 1\n\n", Sse),
        ("text/event-stream", b"whatever: x\n", Sse),
        ("text/event-stream", b'{"model":"x"}\n', Concat),
        ("text/plain", b"data: x\n\n", Sse),
        ("application/json", b"event: x\ndata: y\n\n", Sse),
        ("application/octet-stream", b": ping\n\n", Sse),
        ("", b"id: 4\n", Sse),
        ("application/json", b'{"a":1}', Document),
        ("application/json", b"\n\n\n {", Document),
        ("application/json", BOM + b'{"a":1}', Document),
        ("application/json", b"[1]", Document),
        ("application/json", b"null", Document),
        ("", b'{"a":1}', Document),
        ("application/x-ndjson", b'{"a":1}\n', Lines),
        ("application/jsonl", b'{"a":1}\n', Lines),
        ("text/plain", b"Internal Server Error", Opaque),
        ("text/html", b"<html>", Opaque),
        ("", b"Hello", Opaque),
    ],
)
def test_the_first_bytes_decide(content_type: str, first: bytes, framing: type) -> None:
    sniffer = Sniffer(content_type)
    sniffer.feed(first)
    assert isinstance(sniffer.framer, framing)
    bytewise = Sniffer(content_type)
    for at in range(len(first)):
        bytewise.feed(first[at : at + 1])
    bytewise.close()
    assert isinstance(bytewise.framer, framing)


@pytest.mark.parametrize("content_type", ["audio/mpeg", "image/png", "text/html; charset=utf-8"])
def test_binary_and_pages_are_opaque_before_their_first_byte(content_type: str) -> None:
    assert isinstance(Sniffer(content_type).framer, Opaque)


def test_an_error_is_one_body_whatever_its_type() -> None:
    for content_type in ("text/event-stream", "application/x-ndjson", "application/json"):
        sniffer = Sniffer(content_type, failed=True)
        sniffer.feed(b'{"error":1}')
        assert isinstance(sniffer.framer, Document)
        assert not sniffer.streamed


def test_an_array_is_split_where_the_format_streams_so() -> None:
    sniffer = Sniffer("application/json", array=True)
    assert list(sniffer.feed(b'[{"a":1}')) == [b'{"a":1}']
    assert isinstance(sniffer.framer, JsonArray)


def test_bare_text_is_kept_to_the_byte() -> None:
    sniffer = Sniffer("", bare_text=True)
    frames = [*sniffer.feed(b" "), *sniffer.feed(b"Hi")]
    assert isinstance(sniffer.framer, BareText)
    assert b"".join(frame.data for frame in frames) == b" Hi"  # type: ignore[union-attr]


def test_a_declared_stream_without_a_byte_is_a_stream() -> None:
    assert Sniffer("text/event-stream").streamed
    assert not Sniffer("application/json").streamed
    assert list(Sniffer("text/event-stream").close()) == []


def test_endless_white_space_is_not_kept() -> None:
    sniffer = Sniffer("application/json")
    for _ in range(100):
        sniffer.feed(b"\n" * 1000)
    assert len(sniffer._head) < 6000
    assert list(sniffer.feed(b'{"a":1}')) + list(sniffer.close()) == [b'{"a":1}']
