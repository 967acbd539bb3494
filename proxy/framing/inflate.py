"""Undoes content codings as the bytes pass, in bounded steps: gzip, deflate, br, zstd, and chains of them.

Reads a copy for the meter only; the client gets the bytes as the upstream coded them. A coding that nobody here knows
has no inflater: `inflater()` returns None and the answer stays opaque. The only place for third-party decoders.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STEP_BYTES = 64 << 10
"""Output of one step (brotli's may be twice this): 200 MB of zeros fit in 194 KB of gzip, and are never held whole."""
MAX_DECODED = 32 << 20
"""Of one body. An answer of this size has long said what it costs; beyond, reading stops (forwarding does not)."""
MAX_CODINGS = 4
"""Nobody chains more; each one multiplies what a bomb can do."""
ZSTD_WINDOW_LOG = 23
"""8 MiB, the most that RFC 9659 allows for the content coding."""


class BadCoding(Exception):
    """The bytes are not what their content coding says, or grow beyond the bound."""


class _Engine(Protocol):
    """One decoder over one member (frame) of a body."""

    more: bool
    """Output is waiting that needs no further input."""
    done: bool
    rest: bytes
    """What came behind the member's end."""

    def step(self, data: bytes) -> bytes: ...


class _Zlib:
    __slots__ = ("_inner", "done", "more", "rest")

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self.more = self.done = False
        self.rest = b""

    def step(self, data: bytes) -> bytes:
        inner = self._inner
        out = inner.decompress(inner.unconsumed_tail + data, STEP_BYTES)
        self.done = inner.eof
        self.more = not self.done and (bool(inner.unconsumed_tail) or len(out) == STEP_BYTES)
        self.rest = inner.unused_data
        return out


class _Zstd:
    __slots__ = ("_inner", "done", "more", "rest")

    def __init__(self) -> None:
        self._inner = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})
        self.more = self.done = False
        self.rest = b""

    def step(self, data: bytes) -> bytes:
        inner = self._inner
        out = inner.decompress(data, STEP_BYTES)
        self.done = inner.eof
        self.more = not self.done and not inner.needs_input
        self.rest = inner.unused_data
        return out


class _Brotli:
    __slots__ = ("_inner", "done", "more", "rest")

    def __init__(self) -> None:
        self._inner = brotli.Decompressor()
        self.more = self.done = False
        self.rest = b""

    def step(self, data: bytes) -> bytes:
        out: bytes = self._inner.process(data, output_buffer_limit=STEP_BYTES)
        self.done = self._inner.is_finished()
        self.more = not self.done and (len(out) >= STEP_BYTES or not self._inner.can_accept_more_data())
        return out


class _Stage:
    """One coding: member after member. What follows the last member and begins none is padding."""

    __slots__ = ("_engine", "_head", "_head_size", "_members", "_over", "_start")

    def __init__(self, start: Callable[[bytes, int], _Engine | None], head_size: int) -> None:
        self._start = start
        self._head_size = head_size
        self._head = b""
        self._engine: _Engine | None = None
        self._members = 0
        self._over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data and not self._over:
            engine = self._engine
            if engine is None:
                self._head += data
                if len(self._head) < self._head_size:
                    return
                data, self._head = self._head, b""
                engine = self._engine = self._start(data, self._members)
                if engine is None:
                    self._over = True
                    return
            yield engine.step(data)
            while engine.more:
                yield engine.step(b"")
            if not engine.done:
                return
            data, self._engine = engine.rest, None
            self._members += 1


def _start_gzip(head: bytes, member: int) -> _Engine | None:
    return None if member and not head.startswith(b"\x1f\x8b") else _Zlib(31)


def _start_deflate(head: bytes, member: int) -> _Engine | None:
    """With the zlib header, as RFC 9110 says, or without, as some servers send it."""
    if member:
        return None
    headed = head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0
    return _Zlib(15 if headed else -15)


def _start_zstd(head: bytes, member: int) -> _Engine | None:
    """Frames may follow each other, skippable ones (0x184D2A5x) among them (RFC 8878, section 3.1)."""
    framed = head[:4] == b"\x28\xb5\x2f\xfd" or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5)
    return None if member and not framed else _Zstd()


def _start_brotli(head: bytes, member: int) -> _Engine | None:
    return None if member else _Brotli()


_CODINGS: dict[str, tuple[Callable[[bytes, int], _Engine | None], int]] = {
    "gzip": (_start_gzip, 2),
    "x-gzip": (_start_gzip, 2),
    "deflate": (_start_deflate, 2),
    "zstd": (_start_zstd, 4),
    "br": (_start_brotli, 1),
}


class Inflater:
    """Undoes a chain of codings, the one named last first (RFC 9110, section 8.4)."""

    __slots__ = ("_left", "_stages")

    def __init__(self, codings: list[str], max_decoded: int) -> None:
        self._stages = [_Stage(*_CODINGS[name]) for name in reversed(codings)]
        self._left = max_decoded

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded bytes, step by step; raises `BadCoding`, after which it is of no use."""
        try:
            for piece in self._run(data, 0):
                if len(piece) > self._left:
                    yield piece[: self._left]
                    raise BadCoding("decoded_too_long")
                self._left -= len(piece)
                yield piece
        except (zlib.error, brotli.error, zstd.ZstdError, EOFError) as error:
            raise BadCoding("bad_coding") from error

    def _run(self, data: bytes, stage: int) -> Iterator[bytes]:
        if stage == len(self._stages):
            if data:
                yield data
            return
        for piece in self._stages[stage].feed(data):
            yield from self._run(piece, stage + 1)


def inflater(content_encoding: str, max_decoded: int = MAX_DECODED) -> Inflater | None:
    """The inflater for a `content-encoding` header that names at least one coding, or None when one is unknown."""
    names = codings(content_encoding)
    if len(names) > MAX_CODINGS or any(name not in _CODINGS for name in names):
        return None
    return Inflater(names, max_decoded)


def codings(content_encoding: str) -> list[str]:
    """The codings that a `content-encoding` header names, `identity` left out."""
    names = (name.strip().lower() for name in content_encoding.split(","))
    return [name for name in names if name and name != "identity"]


def inflate(body: bytes, content_encoding: str, max_decoded: int) -> bytes | None:
    """A whole body decoded, as far as it goes within the bound; None when nothing can be decoded."""
    if not codings(content_encoding):
        return body
    engine = inflater(content_encoding, max_decoded)
    if engine is None:
        return None
    pieces: list[bytes] = []
    try:
        pieces.extend(engine.feed(body))
    except BadCoding:
        return b"".join(pieces) or None
    return b"".join(pieces)
