"""One JSON object per line (NDJSON): Ollama, and KTransformers under the name of `text/event-stream`."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.framing import Frame, Marked
from proxy.framing.salvage import Trimmed

MAX_LINE = 1 << 20
"""Ollama's longest line is the final one with its `context` of token ids, some 100 KB."""


class Lines:
    """Splits at LF; white space around a line is left to the JSON reader."""

    __slots__ = ("_parts", "_size", "_trimmed", "streamed")

    def __init__(self) -> None:
        self.streamed = True
        self._parts: list[bytes] = []
        self._size = 0
        self._trimmed: Trimmed | None = None

    def feed(self, chunk: bytes) -> Sequence[Frame]:
        """Take the next bytes; return the lines that are whole."""
        lines = chunk.split(b"\n")
        if len(lines) == 1:
            self._keep(chunk)
            return ()
        frames: list[Frame] = []
        self._end(lines[0], frames)
        for line in lines[1:-1]:
            self._end(line, frames)
        if lines[-1]:
            self._keep(lines[-1])
        return frames

    def close(self) -> Sequence[Frame]:
        """The last line may lack its end."""
        frames: list[Frame] = []
        self._end(b"", frames)
        return frames

    def _keep(self, part: bytes) -> None:
        if self._trimmed is not None:
            self._trimmed.add(part)
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > MAX_LINE:
            self._trimmed = Trimmed(b"".join(self._parts))
            self._parts.clear()

    def _end(self, line: bytes, frames: list[Frame]) -> None:
        if self._size or len(line) > MAX_LINE:
            self._keep(line)
            line = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        if self._trimmed is not None:
            frames += (Marked("salvage", self._trimmed.salvage()), Marked("fault", b"line_too_long"))
            self._trimmed = None
        elif line and not line.isspace():
            frames.append(line)
