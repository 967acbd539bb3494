"""How bytes split: one incremental reader per framing, all with `feed(bytes)` and `close()`; `sniff` picks one.

What the pieces mean is `proxy.wire`'s business. A framer is fed the answer's body as it passes, cut anywhere; it yields
the same frames for any cutting, holds no more than the bound beside each buffer, and never raises. What cannot be read
as the framing says comes out in its place among the frames, as a `Marked`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Marked(NamedTuple):
    """A frame that is not simply the bytes of one JSON value."""

    kind: str
    """`fault` (data: what is wrong), `error` (an SSE event of that name), `text` (bare text, LLMstudio 0.3) or
    `salvage` (what was found of a frame that was too long to keep)."""
    data: bytes


Frame = bytes | Marked


class Framer(Protocol):
    """What every framing offers."""

    @property
    def streamed(self) -> bool:
        """Whether this framing means that the answer came as a stream."""

    def feed(self, chunk: bytes) -> Sequence[Frame]:
        """Take the next bytes; return the frames that are whole now."""

    def close(self) -> Sequence[Frame]:
        """No more bytes come; return what is left."""


class Opaque:
    """Reads nothing: binary, HTML, plain text, or a coding that nobody here can undo."""

    __slots__ = ("streamed",)

    def __init__(self, *, streamed: bool = False) -> None:
        self.streamed = streamed

    def feed(self, chunk: bytes) -> Sequence[Frame]:
        """Nothing comes of it."""
        return ()

    def close(self) -> Sequence[Frame]:
        """Nothing was held."""
        return ()


class BareText:
    """Text with no framing at all, as LLMstudio 0.3 streams it: one delta per HTTP chunk."""

    __slots__ = ("streamed",)

    def __init__(self) -> None:
        self.streamed = True

    def feed(self, chunk: bytes) -> Sequence[Frame]:
        """All bytes are content."""
        return (Marked("text", chunk),)

    def close(self) -> Sequence[Frame]:
        """Nothing was held."""
        return ()
