"""The client's side of a call: uvicorn's httptools protocol made strict, with a hot path straight to the exchange.

uvicorn parses, accepts and shuts down; this class adds what neither of its parsers has (a limit on a head's bytes and
time, trailers that stay out of the headers) and keeps HTTP chunk boundaries of uploads. Requests for weir itself go to
the ASGI application, all others to the `DataPlane` without an ASGI round trip, which would halve the speed.

Requests of one connection are answered in order: a pipelined one waits, unread as far as possible, for its turn.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from proxy.dataplane import DataPlane
from proxy.decide import Repeat
from proxy.gate import Refusal, answer, head_too_large
from proxy.headers import response_head
from proxy.own_requests import own_path, request_scope
from proxy.turns import Turn, TurnReader

if TYPE_CHECKING:
    from proxy.answer_head import AnswerHead
    from proxy.decide import Decision

KEEP_ALIVE = 75.0
"""Seconds that an idle client connection stays open (nginx's default; uvicorn's 5 s costs re-connects)."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Listener(TurnReader):
    """One client connection. `bind` gives a class with the data plane set, as uvicorn makes its protocols itself."""

    plane: DataPlane

    @classmethod
    def bind(cls, plane: DataPlane) -> type[Listener]:
        """A subclass for one worker."""
        return type("BoundListener", (cls,), {"plane": plane})

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._serving: Turn | None = None  # the request being answered
        self._pumping = self._closing = False
        self._held_back = False
        self._held_head = b""
        self._last_at = self.plane.clock()
        self._read = b""
        """The read being parsed, if a request begins with it."""
        self._repeat: Repeat | None = None

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Parses, then starts what can be started: by then a small request is whole."""
        if self._closing:
            return
        self._last_at = self.plane.clock()
        between = self._serving is None and not self._queue and (self._turn is None or self._turn.complete)
        if between and self._repeat is not None and (start := self._repeat.body_at(data)):
            self._again(self._repeat, data[start:])
            return
        self._read = data if between else b""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._closing = True
        except httptools.HttpParserError:
            self._bad_request()
        if self._turn is not None and not self._turn.head_done:
            # Behind the end of another request, how much of this read belongs to the head is not known.
            self._head_bytes += 0 if self._ended_one else len(data)
            if self._head_bytes > self.plane.max_head_bytes:
                self._break_off(head_too_large(self.plane.max_head_bytes))
        self._ended_one = False
        self._pump()
        self._read = b""  # an idle connection must not keep a prompt

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: so is what it asked for."""
        self._closing = True
        super().connection_lost(exc)
        self._queue.clear()
        if self._serving is not None and self._serving.exchange is not None:
            self._serving.exchange.client_gone()
        self._serving = None

    def pause_writing(self) -> None:
        """The client reads slowly."""
        super().pause_writing()
        if self._serving is not None and self._serving.exchange is not None:
            self._serving.exchange.blocked(True)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._serving is not None and self._serving.exchange is not None:
            self._serving.exchange.blocked(False)

    # -- proxy.exchange.Downstream

    def head(self, head: AnswerHead, call_id: str, *, more: bool) -> None:
        """The answer's head, as the client gets it; held for what follows at once, which saves a system call."""
        turn = self._serving
        assert turn is not None
        if head.until_close:
            turn.until_close, turn.keep_alive = True, False
        raw = response_head(head.raw, call_id.encode("ascii"), close=not turn.keep_alive, plain=head.plain)
        if more:
            self._held_head = raw
        else:
            self.transport.write(raw)

    def chunk(self, raw: bytes, payload: bytes) -> None:
        """Body bytes in the upstream's own framing."""
        if self._held_head:
            raw, self._held_head = self._held_head + raw, b""
        self.transport.write(raw)

    def end(self) -> None:
        """The answer is whole: the next request's turn."""
        self._release_head()
        self._done()

    def abort(self) -> None:
        """Ends the connection so that the client sees a broken answer, after what was sent so far."""
        turn, self._serving = self._serving, None
        self._closing = True
        self._release_head()
        if turn is not None and turn.until_close:
            # Only a reset tells such an answer's end from its breaking off; uvloop's abort alone sends none.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        else:
            self.transport.close()

    def refuse(self, refusal: Refusal, call_id: str) -> None:
        """weir's own answer; it ends the connection, as the rest of the request may be anything."""
        turn = self._serving
        self.transport.write(
            answer(refusal, call_id.encode("ascii"), head_only=turn is not None and turn.method == b"HEAD")
        )
        self._closing = True
        self._held_back = False
        self._serving = None
        self._linger()

    def pause(self, paused: bool) -> None:
        """Back-pressure to the client's upload."""
        self._held_back = paused
        self._steer_reading()

    def _release_head(self) -> None:
        if self._held_head:
            self.transport.write(self._held_head)
            self._held_head = b""

    # -- turns

    def sweep(self, now: float) -> None:
        """Closes a connection that is idle, or whose head does not come. Called a few times a second."""
        silent = now - self._last_at
        if self._serving is not None and self._serving.exchange is not None:
            return
        in_head = self._turn is not None and not self._turn.head_done and not self._closing
        if in_head and now - self._head_at > self.plane.head_timeout:
            self._break_off(Refusal(408, "head_timeout", "the request head did not arrive in time"))
        elif self._serving is None and silent > (self.plane.head_timeout if self._closing else KEEP_ALIVE):
            self.transport.abort()

    def shutdown(self) -> None:
        """The worker stops: idle connections close now, busy ones after their answer."""
        if self._serving is None:
            self.transport.close()
            return
        self._serving.keep_alive = False
        if self._serving.cycle is not None:
            self._serving.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """uvicorn's callback: the application has answered."""
        self.server_state.total_requests += 1
        self._done()

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        while self._queue and self._serving is None and not self.transport.is_closing():
            self._serving = self._queue.popleft()
            self._start(self._serving)
        self._pumping = False
        self._steer_reading()

    def _start(self, turn: Turn) -> None:
        if own_path(turn.target):
            self._start_app(turn)
            return
        decision = self.plane.decide(turn, self)
        if decision is not None:
            turn.exchange = self.plane.open(turn, self, decision)
            self._begun(turn)
            self._remember(turn, decision)
        turn.pieces = []

    def _begun(self, turn: Turn) -> None:
        if turn.exchange is not None and self.flow.write_paused:
            turn.exchange.blocked(True)  # by the answer before it
        if turn.exchange is not None and not turn.complete and turn.expects:
            self.transport.write(_CONTINUE)

    def _remember(self, turn: Turn, decision: Decision) -> None:
        """Keeps the head of a request that came whole in one read, in case the next one begins with the same."""
        self._repeat = None
        size = sum(len(piece) for piece in turn.pieces)
        end = self._read.find(b"\r\n\r\n") + 4
        plain = turn.complete and turn.keep_alive and not decision.chunked and not turn.expects
        if plain and size and len(self._read) == end + size:
            try:
                self._repeat = Repeat(self._read[:end], decision, self.plane.max_request_bytes)
            except ValueError:
                self._repeat = None

    def _again(self, repeat: Repeat, body: bytes) -> None:
        """The head of the request before, with another body: nothing to parse or decide."""
        self._turn = self._serving = turn = Turn()
        turn.head_done = turn.complete = True
        turn.method = repeat.decision.method.encode("ascii")
        turn.at = self._last_at
        turn.started_at = time.time_ns() // 1000
        turn.pieces.append(body)
        turn.exchange = self.plane.open(turn, self, repeat.decision, repeat.outgoing(len(body)))
        turn.pieces = []
        self._begun(turn)

    def _done(self) -> None:
        turn, self._serving = self._serving, None
        self._held_back = False  # what held the request back no longer matters
        self._last_at = self.plane.clock()
        if turn is not None:
            turn.exchange = None
        if turn is None or not turn.keep_alive or not turn.complete:
            self._closing = True
            self._linger()
        elif self._queue or self.flow.read_paused:
            self._pump()

    def _linger(self) -> None:
        """Closes. Unread request bytes would turn that into a reset that takes the answer with it: drop them first."""
        self._queue.clear()
        if self._turn is None or self._turn.complete or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(1.0, self.transport.close)

    def _steer_reading(self) -> None:
        if self.transport.is_closing() or (self._serving is not None and self._serving.cycle is not None):
            return
        if self._held_back or self._queue:
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()

    # -- what is not a request

    def _bad_request(self) -> None:
        """Bytes that are no request, or no body of the one being read."""
        refusal = Refusal(400, "bad_request", "this is not an HTTP/1.1 request")
        turn = self._turn
        if turn is not None and turn.exchange is not None and not turn.complete:
            turn.exchange.broken(refusal)
            return
        if self._queue and self._queue[-1] is turn and not self._queue[-1].complete:
            self._queue.pop()
        self._break_off(refusal)

    def _break_off(self, refusal: Refusal) -> None:
        """Refuses what is being read, if nothing before it is waiting for its answer; else that answer is the last."""
        if self._serving is not None or self._queue:
            self._closing = True
            for before in (self._serving, *self._queue):
                if before is not None:
                    before.keep_alive = False
            return
        self._serving = self._turn = turn = self._turn or Turn()
        if not turn.at:
            turn.at = self._last_at
            turn.started_at = time.time_ns() // 1000
        self.plane.reject(turn, self, refusal)

    # -- requests for weir itself

    def _start_app(self, turn: Turn) -> None:
        scope: Any = {
            **request_scope(turn.method, turn.target, turn.version, turn.headers),
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "root_path": self.root_path,
            "state": self.app_state.copy(),
        }
        turn.cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=turn.expects,
            keep_alive=turn.keep_alive,
            on_response=self.on_response_complete,
        )
        self.cycle = turn.cycle
        turn.cycle.body += b"".join(turn.pieces)
        turn.cycle.more_body = not turn.complete
        self._start_asgi_task(turn.cycle, self.app)
