"""Drives a meter in tests: by tape, or by the bytes of an answer."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Any

import brotli
from backports import zstd

from proxy.meter import Meter
from proxy.wire import classify
from store.record import READING_FIELDS, Reading
from tests.plugins.tapes import tape

TIMES = {"duration_us", "first_chunk_us", "ttft_us", "inter_token_us"}
CODERS = {
    "identity": lambda data: data,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=3),
    "zstd": zstd.compress,
}


@dataclass(frozen=True)
class Exchange:
    """One exchange as the carrier sees it."""

    method: str
    path: str
    asked: bytes
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    chunks: tuple[bytes, ...]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


def taped(name: str) -> Exchange:
    """A tape, its HTTP undone."""
    found = tape(name)
    first, _, _ = _message(found.request)
    status, headers, chunks = _message(found.response)
    method, path, _ = first.split(" ")
    _, _, asked = _message(found.request)
    return Exchange(method, path, b"".join(asked), int(status.split(" ")[1]), tuple(headers), tuple(chunks))


def _message(raw: bytes) -> tuple[str, list[tuple[bytes, bytes]], list[bytes]]:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    if not any(name.lower() == b"transfer-encoding" for name, _ in headers):
        return first.decode(), headers, [body] if body else []
    chunks = []
    while body:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16):
            chunks.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return first.decode(), headers, chunks


def metered(
    exchange: Exchange, pieces: list[bytes] | None = None, coding: str = "identity", outcome: str = "ok"
) -> Meter:
    """A meter through which the exchange has passed, 10 ms from piece to piece; its HTTP chunks count as taped."""
    kind = classify(exchange.method, exchange.path)
    meter = Meter(wire_format=kind.wire_format, path=exchange.path, started=0.0)
    meter.request(exchange.asked, content_type="application/json")
    headers = list(exchange.headers)
    if coding != "identity":
        headers.append((b"content-encoding", coding.encode()))
    meter.response(exchange.status, headers, at=0.1)
    left = len(exchange.chunks)
    for index, piece in enumerate(exchange.chunks if pieces is None else pieces):
        chunks = 1 if pieces is None else left
        left -= chunks
        meter.feed(piece, at=0.1 + index / 100, chunks=chunks)
    meter.finish(outcome, at=1.0)
    return meter


def reading(meter: Meter) -> Reading:
    """The reading of a finished meter."""
    assert meter.finished is not None
    return meter.finished


def timeless(found: Reading) -> dict[str, Any]:
    """A reading without what depends on when the bytes came."""
    return {name: getattr(found, name) for name in READING_FIELDS if name not in TIMES}


def read(
    *pieces: bytes,
    path: str = "/v1/chat/completions",
    content_type: str = "text/event-stream",
    status: int = 200,
    outcome: str = "ok",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    asked: bytes = b"",
    wire_format: str | None = None,
) -> Reading:
    """The reading of an answer made of these pieces."""
    meter = Meter(wire_format=wire_format or classify("POST", path).wire_format, path=path, started=0.0)
    if asked:
        meter.request(asked, content_type="application/json")
    typed = ((b"content-type", content_type.encode()),) if content_type else ()
    meter.response(status, [*typed, *headers], at=0.1)
    for index, piece in enumerate(pieces):
        meter.feed(piece, at=0.1 + index / 100)
    return meter.finish(outcome, at=1.0)


def events(*values: Any, end: bytes = b"data: [DONE]\n\n") -> bytes:
    """Values as a data-only event stream."""
    return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values) + end


def named(*values: dict[str, Any]) -> bytes:
    """Values as events that bear the name of their type."""
    return b"".join(f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode() for value in values)


def said(text: str, **more: Any) -> dict[str, Any]:
    """A chat chunk that says something."""
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": text}, **more}]}


def counts(found: Reading) -> tuple[int | None, int | None, int | None]:
    """Input, output, total."""
    return found.input_tokens, found.output_tokens, found.total_tokens
