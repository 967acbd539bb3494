"""Server-sent events: bytes → the data of each event (HTML standard, section 9.2.6 "Interpreting an event stream").

Beyond the standard, because providers need it: a last event without its blank line is an event (every SDK dispatches
it), and a bare JSON object between events is one too (Gemini and Ollama proxies send their errors so). The event's
name is kept only where it says what the data does not: `error`.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from proxy.framing import Frame, Marked
from proxy.framing.salvage import Trimmed

MAX_LINE = 1 << 20
"""A Responses API stream ends with the whole answer in one line, up to megabytes; above this it is salvaged."""
MAX_EVENT = 1 << 20
"""All data lines of one event together."""
MAX_TRIES = 64
"""A bare object over many lines is looked at once per line that could be its last."""

_CR, _LF, _SPACE = 13, 10, 32
_PLAIN = b"data: {"


class Sse:
    """Splits events. A chunk of whole events, which is what providers flush, is cut without a copy of any state."""

    __slots__ = (
        "_bare",
        "_between",
        "_cr",
        "_data",
        "_name",
        "_parts",
        "_size",
        "_total",
        "_tries",
        "_trimmed",
        "streamed",
    )

    def __init__(self) -> None:
        self.streamed = True
        self._between = True
        """Nothing is held: the next byte begins an event."""
        self._cr = False
        self._parts: list[bytes] = []
        self._size = 0
        self._trimmed: Trimmed | None = None
        self._data: list[bytes] = []
        self._total = 0
        self._name = b""
        self._bare: list[bytes] = []
        self._tries = 0

    def feed(self, chunk: bytes) -> Sequence[Frame]:
        """Take the next bytes; return the data of the events that are whole."""
        if self._between and chunk[-2:] == b"\n\n" and _CR not in chunk and len(chunk) <= MAX_LINE:
            if chunk[:7] == _PLAIN:
                data = chunk[6:-2]
                if _LF not in data:
                    return (data,)
            return self._whole(chunk)
        return self._cut(chunk)

    def close(self) -> Sequence[Frame]:
        """Dispatch the event that had no blank line."""
        frames: list[Frame] = []
        if self._size:
            self._end_line(b"", frames)
        self._dispatch(frames)
        return frames

    def _whole(self, chunk: bytes) -> Sequence[Frame]:
        frames: list[Frame] = []
        for block in chunk[:-2].split(b"\n\n"):
            if block[:7] == b"event: ":
                name, found, data = block[7:].partition(b"\ndata: ")
                if found and _LF not in data and _LF not in name and name != b"error":
                    frames.append(data)
                    continue
            elif block[:5] == b"data:" and _LF not in block:
                frames.append(block[6:] if block[5:6] == b" " else block[5:])
                continue
            for line in block.split(b"\n"):
                self._line(line, frames)
            self._dispatch(frames)
        return frames

    def _cut(self, chunk: bytes) -> Sequence[Frame]:
        if not chunk:
            return ()
        if self._cr and chunk[0] == _LF:
            chunk = chunk[1:]
        self._cr = chunk[-1:] == b"\r"
        lines = chunk.splitlines()
        rest = lines.pop() if lines and chunk[-1] not in (_CR, _LF) else b""
        frames: list[Frame] = []
        for line in lines:
            self._end_line(line, frames)
        if rest:
            self._keep(rest)
        self._between = not (self._cr or self._size or self._data or self._name or self._bare)
        return frames

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._trimmed is not None:
            self._trimmed.add(part)
            return
        self._parts.append(part)
        if self._size > MAX_LINE:
            self._trimmed = Trimmed(b"".join(self._parts))
            self._parts.clear()

    def _end_line(self, line: bytes, frames: list[Frame]) -> None:
        if self._size or len(line) > MAX_LINE:
            self._keep(line)
            line = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        if self._trimmed is not None:
            frames += (Marked("salvage", self._trimmed.salvage()), Marked("fault", b"line_too_long"))
            self._trimmed = None
        else:
            self._line(line, frames)

    def _line(self, line: bytes, frames: list[Frame]) -> None:
        if not line:
            self._dispatch(frames)
        elif self._bare and not line.startswith((b"data:", b"event:")):
            self._bare_line(line, frames)
        elif line.startswith(b"data:"):
            self._value(line[6:] if line[5:6] == b" " else line[5:], frames)
        elif line.startswith(b"event:"):
            self._name = line[6:].strip()
        elif line == b"data":
            self._value(b"", frames)
        elif line[:1] == b"{":
            self._bare_line(line, frames)

    def _value(self, value: bytes, frames: list[Frame]) -> None:
        self._total += len(value) + 1
        if self._total <= MAX_EVENT + 1:
            self._data.append(value)
        elif self._data:
            frames.append(Marked("fault", b"event_too_long"))
            self._data.clear()

    def _dispatch(self, frames: list[Frame]) -> None:
        if self._bare:
            frames.append(b"\n".join(self._bare))
            self._bare.clear()
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            frames.append(Marked("error", data) if self._name == b"error" else data)
            self._data.clear()
        self._total = 0
        self._name = b""

    def _bare_line(self, line: bytes, frames: list[Frame]) -> None:
        """A JSON object that nothing frames: whole once it parses."""
        if not self._bare:
            self._tries = MAX_TRIES
        self._bare.append(line)
        self._total += len(line) + 1
        if self._total > MAX_EVENT:
            frames.append(Marked("fault", b"event_too_long"))
            self._bare.clear()
            self._total = 0
        elif self._tries and line.rstrip().endswith(b"}"):
            self._tries -= 1
            if _is_json(body := b"\n".join(self._bare)):
                frames.append(body)
                self._bare.clear()
                self._total = 0


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except ValueError:
        return False
    return True
