"""The chunked transfer coding (RFC 9112 section 7.1), read without losing where its chunks begin and end. Pure.

Every parser at hand hides chunk boundaries or must hold a whole chunk back to keep them. Clients of LLMstudio parse one
JSON object per HTTP chunk, of any size, so this reader validates the framing as it passes and gives back *the same
framing*: bytes to forward at once, also in the middle of a chunk, so that nothing is held and no chunk is too large.
Chunk extensions and trailers belong to one hop and are dropped.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_SIZE_LINE = 1024
"""Bytes of a size line with its extensions; h11 and llhttp allow 64 KiB and more, servers send under 20."""
MAX_TRAILERS = 16 << 10

_WHOLE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?\r\n")


class ChunkedError(ValueError):
    """The bytes are not chunked coding."""

    before: Piece | None = None
    """What was read of the same bytes before they broke it."""


class Piece(NamedTuple):
    """What one read gave."""

    raw: bytes
    """Framing and content to forward, valid as far as it goes."""
    payload: bytes
    """The content alone."""
    chunks: int
    """How many chunks ended in this read (the closing chunk of size 0 is none)."""


class ChunkedReader:
    """Reads one chunked body. After `done`, bytes that followed it are in `rest`."""

    __slots__ = ("_held", "_left", "done", "rest")

    def __init__(self) -> None:
        self._held = b""
        self._left = -1  # content bytes to come of the chunk being read; 0 = its CRLF; -1 = a size line; -2 = trailers
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> Piece:
        """Takes the next bytes. Raises ChunkedError when they break the coding."""
        if self._left == -1 and not self._held:
            # Whole chunks a read: what an upstream that flushes each event sends, and 9 of 10 reads are.
            payload: list[bytes] = []
            at, size = 0, len(data)
            while match := _WHOLE.match(data, at):
                start = match.end()
                end = start + int(match[1], 16)
                if end == start or data[end : end + 2] != b"\r\n":
                    break
                payload.append(data[start:end])
                at = end + 2
                if at == size:
                    return Piece(data, payload[0] if len(payload) == 1 else b"".join(payload), len(payload))
        return self._feed_any(data)

    def _feed_any(self, data: bytes) -> Piece:
        data, self._held = self._held + data, b""
        raw: list[bytes] = []
        payload: list[bytes] = []
        at = chunks = 0
        try:
            while at < len(data) and not self.done:
                if self._left > 0:
                    part = data[at : at + self._left]
                    raw.append(part)
                    payload.append(part)
                    at += len(part)
                    self._left -= len(part)
                    continue
                end = self._line(data, at)
                if end < 0:
                    break
                chunks += self._left == 0
                raw.append(self._close_line(data[at:end]))
                at = end
        except ChunkedError as error:
            error.before = Piece(b"".join(raw), b"".join(payload), chunks)
            raise
        self._held = b"" if self.done else data[at:]
        self.rest = data[at:] if self.done else b""
        return Piece(b"".join(raw), b"".join(payload), chunks)

    def _line(self, data: bytes, at: int) -> int:
        """Where the line at `at` ends, -1 when it is not whole yet."""
        if self._left == 0:
            if data[at : at + 2] == b"\r\n":
                return at + 2
            if data[at : at + 2] == b"\r":
                return -1
            raise ChunkedError("chunk is longer than its size")
        end = data.find(b"\n", at, at + MAX_TRAILERS)
        if end < 0 and len(data) - at > (MAX_SIZE_LINE if self._left == -1 else MAX_TRAILERS - 1):
            raise ChunkedError("chunk size or trailer line is too long")
        return end + 1 if end >= 0 else -1

    def _close_line(self, line: bytes) -> bytes:
        """Acts on one whole line and returns what of it goes on."""
        if self._left == 0:
            self._left = -1
            return line
        if self._left == -2:
            if not line.endswith(b"\r\n"):
                raise ChunkedError("bare LF in trailers")
            self.done = line == b"\r\n"
            return line if self.done else b""
        match = _SIZE_LINE.fullmatch(line)
        if not match or len(line) > MAX_SIZE_LINE:
            raise ChunkedError("bad chunk size line")
        self._left = int(match[1], 16) or -2
        return match[1] + b"\r\n"


def encode(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)
