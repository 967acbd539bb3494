"""One JSON array whose objects arrive piecemeal: `[{…}\\n,\\r\\n{…}]`, as Gemini streams without `alt=sse`.

Also the bare, pretty-printed error object that Gemini may send in its place or after it.
"""

from __future__ import annotations

from proxy.framing.concat import WHITE, Concat


class JsonArray(Concat):
    """Splits the array's objects; the brackets and commas between them are separators."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(separators=WHITE + b"[,]")
