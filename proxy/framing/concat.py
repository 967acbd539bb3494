"""JSON objects one after the other, without separator or with white space (LLMstudio 1.0 streams so).

Counts braces and steps over strings, so it finds each object's end the moment it arrives. It does not parse: what lies
between the braces is the reader's business.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from proxy.framing import Frame, Marked
from proxy.framing.salvage import Trimmed

MAX_OBJECT = 8 << 20
"""LLMstudio repeats the whole prompt twice in each object; an object above this is salvaged, not kept."""

WHITE = b" \t\r\n"
_TO_BRACE = re.compile(rb'[^"{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}]*+)*+', re.DOTALL)
"""Everything up to the next brace, or to a string whose end has not come. Possessive, so it never goes back."""
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_OPEN, _QUOTE = ord("{"), ord('"')


class Concat:
    """Splits objects by their braces."""

    __slots__ = ("_depth", "_escaped", "_in_string", "_parts", "_separators", "_size", "_trimmed", "streamed")

    def __init__(self, separators: bytes = WHITE) -> None:
        self.streamed = True
        self._separators = separators
        self._parts: list[bytes] = []
        self._size = 0
        self._trimmed: Trimmed | None = None
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, chunk: bytes) -> Sequence[Frame]:
        """Take the next bytes; return each object whose last brace has come."""
        frames: list[Frame] = []
        at = 0
        while at < len(chunk):
            if not self._depth:
                at = self._to_open(chunk, at, frames)
                if at < 0:
                    return frames
            end = self._to_end(chunk, at)
            if end < 0:
                self._keep(chunk[at:])
                return frames
            self._emit(chunk[at:end], frames)
            at = end
        return frames

    def close(self) -> Sequence[Frame]:
        """Whatever is left was cut off; hand it over as it is."""
        if not self._depth:
            return ()
        frames: list[Frame] = []
        self._emit(b"", frames)
        return frames

    def _to_open(self, chunk: bytes, at: int, frames: list[Frame]) -> int:
        start = chunk.find(b"{", at)
        gap = chunk[at:] if start < 0 else chunk[at:start]
        if gap and gap.strip(self._separators):
            frames.append(Marked("fault", b"stray_bytes"))
        return start

    def _to_end(self, chunk: bytes, at: int) -> int:
        """Behind the brace that closes the object, or -1 when it has not come."""
        size = len(chunk)
        while at < size:
            if self._in_string:
                at = self._string_end(chunk, at)
                continue
            at = _TO_BRACE.match(chunk, at).end()  # type: ignore[union-attr]  # it matches everywhere
            if at == size:
                break
            self._in_string = chunk[at] == _QUOTE
            if not self._in_string:
                self._depth += 1 if chunk[at] == _OPEN else -1
            at += 1
            if not self._depth:
                return at
        return -1

    def _string_end(self, chunk: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        at = _STRING_REST.match(chunk, at).end()  # type: ignore[union-attr]  # it matches everywhere
        if at < len(chunk):
            self._in_string = chunk[at] != _QUOTE
            self._escaped = self._in_string
            at += 1
        return at

    def _keep(self, part: bytes) -> None:
        if self._trimmed is not None:
            self._trimmed.add(part)
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > MAX_OBJECT:
            self._trimmed = Trimmed(b"".join(self._parts))
            self._parts.clear()

    def _emit(self, part: bytes, frames: list[Frame]) -> None:
        if self._parts or self._trimmed or len(part) > MAX_OBJECT:
            self._keep(part)
            part = b"".join(self._parts)
        if self._trimmed is not None:
            frames += (Marked("salvage", self._trimmed.salvage()), Marked("fault", b"object_too_long"))
        else:
            frames.append(part)
        self._parts.clear()
        self._size = self._depth = 0
        self._trimmed = None
        self._in_string = self._escaped = False


def split(data: bytes) -> Sequence[Frame]:
    """The objects in bytes that are all there."""
    objects = Concat()
    return (*objects.feed(data), *objects.close())
