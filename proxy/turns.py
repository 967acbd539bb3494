"""Requests as they are read from a client's connection: httptools' callbacks, made into turns that wait in a queue.

Keeps what uvicorn's protocol loses: headers with their case, trailers apart from headers, HTTP chunk boundaries.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from proxy.decide import Request

if TYPE_CHECKING:
    from proxy.exchange import Exchange

MAX_CHUNK = 4 << 20
"""Largest chunk of an upload that keeps its boundaries; llhttp tells a chunk's end, not its size, so it is held."""


class Turn(Request):
    """A request and what serves it. At most one per connection has begun and not ended."""

    __slots__ = ("cycle", "exchange", "expects", "head_done", "in_chunk", "keep_alive", "until_close")

    def __init__(self) -> None:
        super().__init__()
        self.keep_alive = True
        self.head_done = self.in_chunk = self.expects = self.until_close = False
        self.exchange: Exchange | None = None
        self.cycle: RequestResponseCycle | None = None


class TurnReader(HttpToolsProtocol):
    """The reading half of a client's connection; `proxy.listener` is the other half and does the rest."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parser = httptools.HttpRequestParser(self)  # without uvicorn's leniency for data after "close"
        self._turn: Turn | None = None  # the request being parsed
        self._serving: Turn | None = None
        self._queue: deque[Turn] = deque()
        self._closing = self._ended_one = False
        self._head_bytes = 0
        self._head_at = self._last_at = 0.0
        self._chunk: list[bytes] = []
        self._chunk_bytes = 0

    def on_message_begin(self) -> None:
        """A new request begins."""
        self._turn = Turn()
        self._head_bytes = 0
        self._head_at = self._last_at

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        if self._turn is not None:
            self._turn.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header as sent; a trailer after the body is dropped, as it must never pass for a header."""
        turn = self._turn
        if turn is not None and not turn.head_done:
            turn.headers.append((name, value))
            if len(name) == 6 and name.lower() == b"expect":
                turn.expects = True

    def on_headers_complete(self) -> None:
        """The head is whole: note the time, and let it wait for its turn."""
        turn = self._turn
        if turn is None:
            return
        turn.head_done = True
        turn.at = self._last_at
        turn.started_at = time.time_ns() // 1000
        turn.method = self.parser.get_method()
        turn.version = self.parser.get_http_version()
        turn.keep_alive = self.parser.should_keep_alive()
        self._queue.append(turn)

    def on_body(self, body: bytes) -> None:
        """Body bytes; those of one HTTP chunk are put together first."""
        turn = self._turn
        if turn is None:
            return
        if not turn.in_chunk:
            self._deliver(turn, body)
            return
        self._chunk.append(body)
        self._chunk_bytes += len(body)
        if turn.exchange is not None:
            turn.exchange.last_at = self._last_at
        if self._chunk_bytes > MAX_CHUNK:
            self.on_chunk_complete()

    def on_chunk_header(self) -> None:
        """A chunk of an upload begins."""
        if self._turn is not None:
            self._turn.in_chunk = True

    def on_chunk_complete(self) -> None:
        """A chunk of an upload is whole: it goes on as one chunk."""
        if self._chunk and self._turn is not None:
            data = self._chunk[0] if len(self._chunk) == 1 else b"".join(self._chunk)
            self._chunk = []
            self._chunk_bytes = 0
            self._deliver(self._turn, data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        turn = self._turn
        if turn is None:
            return
        turn.complete = self._ended_one = True
        if turn.exchange is not None:
            turn.exchange.body_end()
        elif turn.cycle is not None:
            turn.cycle.more_body = False
            turn.cycle.message_event.set()

    def _deliver(self, turn: Turn, data: bytes) -> None:
        if turn.exchange is not None:
            turn.exchange.body(data)
        elif turn.cycle is not None:
            turn.cycle.body += data
            if len(turn.cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            turn.cycle.message_event.set()
        elif not self._closing and turn is not self._serving:
            turn.pieces.append(data)
