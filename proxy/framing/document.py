"""One whole JSON body, kept until its end; or, as soon as that shows, several objects one after the other.

Only the bytes can tell the two apart: LLMstudio streams concatenated objects as `application/json`. `}` directly
before `{` outside a string does not occur in one JSON value, so that is what is looked for as the bytes pass; a body
where it was missed is told by the reader, when it does not parse.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from proxy.framing import Frame, Marked
from proxy.framing.concat import Concat
from proxy.framing.salvage import Trimmed

MAX_BODY = 8 << 20
"""orjson reads 8 MB in 11 ms, as long as the event loop may stand still; above that the body is salvaged."""
MAX_TRIES = 16
"""`}{` also stands inside strings (code); each look whether it ends an object costs a parse of all before it."""


class Document:
    """Keeps the body, bounded, and watches for a second object."""

    __slots__ = ("_objects", "_parts", "_size", "_tries", "_trimmed", "streamed")

    def __init__(self, *, watch: bool = True) -> None:
        """Without `watch` a second object is left for the reader to find: a body of known length is no stream."""
        self.streamed = False
        self._parts: list[bytes] = []
        self._size = 0
        self._tries = MAX_TRIES if watch else 0
        self._trimmed: Trimmed | None = None
        self._objects: Concat | None = None

    def feed(self, chunk: bytes) -> Sequence[Frame]:
        """Take the next bytes; nothing comes out before the end, unless there are several objects."""
        if self._objects is not None:
            return self._objects.feed(chunk)
        if self._trimmed is not None:
            self._trimmed.add(chunk)
            return ()
        several = self._tries > 0 and self._second_starts(chunk)
        self._parts.append(chunk)
        self._size += len(chunk)
        return self._divide() if several else self._bound()

    def close(self) -> Sequence[Frame]:
        """The body, or what can be read of it."""
        if self._objects is not None:
            return self._objects.close()
        if self._trimmed is not None:
            return (Marked("salvage", self._trimmed.salvage()), Marked("fault", b"body_too_long"))
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        return (body,) if body and not body.isspace() else ()

    def _second_starts(self, chunk: bytes) -> bool:
        """True when a second object begins in this chunk."""
        if self._parts and chunk[:1] == b"{" and self._parts[-1][-2:].rstrip().endswith(b"}"):
            return self._is_whole(len(chunk), chunk)
        for mark in (b"}{", b"}\n{"):
            at = chunk.find(mark)
            if at >= 0 and self._is_whole(len(chunk) - at - 1, chunk):
                return True
        return False

    def _is_whole(self, behind: int, chunk: bytes) -> bool:
        """True when all bytes but the last `behind` are one JSON value."""
        self._tries -= 1
        try:
            orjson.loads(b"".join((*self._parts, chunk[: len(chunk) - behind])))
        except ValueError:
            return False
        return True

    def _divide(self) -> Sequence[Frame]:
        self.streamed = True
        self._objects = Concat()
        body = b"".join(self._parts)
        self._parts.clear()
        return self._objects.feed(body)

    def _bound(self) -> Sequence[Frame]:
        if self._size > MAX_BODY:
            self._trimmed = Trimmed(b"".join(self._parts))
            self._parts.clear()
        return ()
