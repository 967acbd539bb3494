"""Which framing an answer has: its content type proposes, its first bytes decide.

Because servers mislabel: SSE under `application/json` or none, NDJSON under `text/event-stream`, concatenated objects
under `application/json`, a JSON error body or an HTML page in answer to a request for a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from proxy.framing import BareText, Frame, Framer, Opaque
from proxy.framing.concat import Concat
from proxy.framing.document import Document
from proxy.framing.json_array import JsonArray
from proxy.framing.lines import Lines
from proxy.framing.sse import Sse

BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b":", b"id:", b"retry:")
_NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
_BINARY = ("audio/", "image/", "video/", "font/", "application/pdf", "application/zip", "text/html")
_MAX_WHITE = 4096
"""DeepSeek keeps a call alive with blank lines before its JSON; more of them are dropped as they come."""


@lru_cache(maxsize=64)
def _bare(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


class Sniffer:
    """Holds the first bytes back until they tell, then hands all to the framing that they show."""

    __slots__ = ("_array", "_bare_text", "_content_type", "_failed", "_framer", "_head", "_sized")

    def __init__(
        self,
        content_type: str,
        *,
        failed: bool = False,
        sized: bool = False,
        array: bool = False,
        bare_text: bool = False,
    ) -> None:
        """`failed`: status 400 or above. `sized`: the head gives the length. The others: what the format allows."""
        self._content_type = _bare(content_type)
        self._failed = failed
        self._sized = sized
        self._array = array
        self._bare_text = bare_text
        self._head = b""
        self._framer: Framer | None = Opaque() if self._content_type.startswith(_BINARY) else None

    @property
    def framer(self) -> Framer | None:
        """The framing, once known."""
        return self._framer

    @property
    def streamed(self) -> bool:
        """As the framing says; before that, as the content type does."""
        if self._framer is not None:
            return self._framer.streamed
        return self._declared_stream and not self._failed

    @property
    def _declared_stream(self) -> bool:
        return self._content_type == "text/event-stream" or self._content_type in _NDJSON

    def feed(self, chunk: bytes) -> Sequence[Frame]:
        """Take the next bytes; before the framing is known nothing comes out."""
        if self._framer is not None:
            return self._framer.feed(chunk)
        if chunk[:1] == b"{" and not self._head:
            self._framer = self._json()
            return self._framer.feed(chunk)
        self._head += chunk
        return self._decide(whole=False)

    def close(self) -> Sequence[Frame]:
        """No more bytes come."""
        frames = [*self._decide(whole=True)] if self._framer is None else []
        if self._framer is not None:
            frames += self._framer.close()
        return frames

    def _decide(self, *, whole: bool) -> Sequence[Frame]:
        head = self._head
        if not whole and len(head) < len(BOM) and BOM.startswith(head):
            return ()
        head = head.removeprefix(BOM)
        first = head.lstrip()
        if self._content_type != "text/event-stream" and not first and len(head) > _MAX_WHITE:
            self._head = b" "
        if not first or (not whole and any(field.startswith(first) for field in _FIELDS)):
            return ()
        self._framer = self._choose(first)
        self._head = b""
        return self._framer.feed(head if self._bare_text else first)

    def _choose(self, first: bytes) -> Framer:
        if first[:1] == b"{":
            return self._json()
        if first[:1] == b"[":
            return JsonArray() if self._array else Document()
        if first.startswith(_FIELDS) or (self._content_type == "text/event-stream" and not self._failed):
            return Sse()
        if self._bare_text and not self._failed:
            return BareText()
        return Document() if self._content_type.endswith("json") and not self._failed else Opaque()

    def _json(self) -> Framer:
        if self._failed or not self._declared_stream:
            return Document(watch=not self._sized)
        return Concat() if self._content_type == "text/event-stream" else Lines()
