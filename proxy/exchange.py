"""One call carried through: the only place where bytes, clock and meter meet.

An exchange sits between a `Downstream` (the client's connection, or a caller in this process) and one upstream
connection. Everything happens in callbacks on the event loop: no task, no queue and no copy per call. For each piece of
the answer the order is fixed: first send, then feed the meter, so that nothing in the meter can hold the water up.
Every exchange ends exactly once, in `_finish`, with one Outcome.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from proxy import chunked
from proxy.answer_head import AnswerHead
from proxy.decide import Decision
from proxy.gate import Refusal, too_large
from proxy.meter import Meter
from proxy.route import UpstreamRoute
from proxy.upstream import ConnectFailed, Pool, UpstreamConnection
from store.record import Call, Outcome, Reading

log = logging.getLogger(__name__)

MAX_WAITING = 256 << 10
"""Request bytes held while the connection to the upstream is being made; more stops reading from the client."""
INLINE_JSON = 256 << 10
"""Largest request body that is parsed on the event loop: 0.4 ms; larger ones go to a thread."""

_REASONS = {
    "connect_timeout": "no connection within proxy.connect_timeout",
    "dns": "its host name does not resolve",
    "refused": "it refuses connections",
    "unreachable": "it cannot be reached",
    "tls": "the TLS handshake failed (certificate not trusted, or no TLS there)",
    "tls_ca": "its verify_tls_ca cannot be read",
    "connect_failed": "weir failed to connect",
    "upload_stalled": "it stopped taking the request for proxy.body_timeout",
    "bad_answer": "its answer is not HTTP/1.1",
    "closed_before_answer": "it closed the connection without answering",
    "connection_closed": "it closed the connection within its answer's head",
    "first_byte_timeout": "no answer within proxy.first_byte_timeout",
}


class Downstream(Protocol):
    """Where the answer goes. Calls come in the order head, chunk…, end; `abort` or `refuse` may come instead."""

    def head(self, head: AnswerHead, call_id: str, *, more: bool) -> None:
        """The answer's head. `more`: a chunk or the end follows at once, so that it may wait to go with them."""

    def chunk(self, raw: bytes, payload: bytes) -> None:
        """Body bytes: `raw` in the framing that the head announced, `payload` the content alone."""

    def end(self) -> None:
        """The answer is whole."""

    def abort(self) -> None:
        """The answer will not become whole, and the receiver must be able to tell."""

    def refuse(self, refusal: Refusal, call_id: str) -> None:
        """weir's own error answer; only when no head was sent."""

    def pause(self, paused: bool) -> None:
        """Stop or go on reading the request's body."""


@dataclass(slots=True)
class Line:
    """What the exchanges of one worker share."""

    pool: Pool
    clock: Callable[[], float]
    finished: Callable[[Exchange, Reading], None]
    """Takes the result: journals it, and estimates first where usage is missing."""
    in_thread: Callable[[Callable[[], None]], asyncio.Future[None]]
    max_request_bytes: int
    meter_request_bytes: int
    copy_room: int
    """Bytes of requests that may still be copied for the meters; it shrinks and grows with the calls."""
    first_byte_timeout: float
    body_timeout: float
    idle_timeout: float


_CONNECTING, _ASKED, _ANSWERING, _DONE = range(4)
"""Phases. Plain numbers: an attribute of an Enum class costs 0.1 µs, and a call looks at its phase twenty times."""


class Exchange:
    """Carries one call. `begin` starts it; the client's side calls `body`, `body_end`, `blocked`, `client_gone`."""

    __slots__ = (
        "_connection", "_copy", "_copy_bytes", "_downstream", "_head_only", "_held_back", "_line", "_own_status",
        "_parsing", "_phase", "_request_done", "_task", "_truncated", "_waiting", "_waiting_bytes", "call", "decision",
        "last_at", "meter", "overhead", "paused", "progress_at", "received_at", "request_bytes",
    )  # fmt: skip

    def __init__(
        self, line: Line, call: Call, decision: Decision, downstream: Downstream, *, received_at: float
    ) -> None:
        self.call = call
        self.meter = Meter(wire_format=call.wire_format, path=call.path, started=received_at)
        self.received_at = self.last_at = self.progress_at = received_at
        self.overhead: float | None = None
        self.paused = False
        self.request_bytes = 0
        self.decision = decision
        self._line = line
        self._downstream = downstream
        self._connection: UpstreamConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._phase = _CONNECTING
        self._request_done = False
        self._head_only = False
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._copy: list[bytes] = []
        self._copy_bytes = 0
        self._truncated = False
        self._held_back = False
        self._own_status: int | None = None
        self._parsing: asyncio.Future[None] | None = None

    def begin(self, route: UpstreamRoute, head: bytes, *, head_only: bool) -> None:
        """Sends the head, and what `body` has given so far, as soon as there is a connection."""
        self._head_only = head_only
        self._waiting.insert(0, head)
        key = (route.name, self.call.key_id)
        connection = self._line.pool.take(key)
        if connection is not None:
            self._send_first(connection)
        else:
            self._task = asyncio.get_running_loop().create_task(self._connect(route, key))

    # -- from the client

    def body(self, data: bytes) -> None:
        """Request body: any bytes of it, or one whole HTTP chunk where the request is chunked."""
        if self._phase is _DONE:
            return
        self.request_bytes += len(data)
        self.last_at = self._line.clock()
        if self.request_bytes > self._line.max_request_bytes:
            self._refuse(too_large(self._line.max_request_bytes), Outcome.REJECTED)
            return
        self._keep_copy(data)
        framed = chunked.encode(data) if self.decision.chunked else data
        if self._connection is not None:
            self._connection.send([framed])
        else:
            self._waiting.append(framed)
            self._waiting_bytes += len(framed)
            if self._waiting_bytes > MAX_WAITING:
                self._downstream.pause(True)

    def whole(self, body: bytes) -> None:
        """The request's whole body, before `begin`."""
        self._request_done = True
        self.request_bytes = len(body)
        if body:
            self._keep_copy(body)
            self._waiting.append(body)

    def body_end(self) -> None:
        """The request is whole."""
        if self._phase is _DONE:
            return
        self._request_done = True
        if self.decision.chunked:
            if self._connection is not None:
                self._connection.send([b"0\r\n\r\n"])
            else:
                self._waiting.append(b"0\r\n\r\n")
        if self._connection is not None:
            self._request_sent()

    def blocked(self, blocked: bool) -> None:
        """The client takes the answer slower than it comes: back-pressure to the upstream."""
        self.paused = blocked
        self.last_at = self._line.clock()
        if self._connection is not None:
            self._connection.pause(blocked)

    def broken(self, refusal: Refusal) -> None:
        """The rest of the request is no HTTP: the upstream must not take what it has for a whole one."""
        if self._phase is not _DONE:
            self._refuse(refusal, Outcome.REJECTED)

    def client_gone(self) -> None:
        """The client has closed its connection: so does the upstream's, at once."""
        self._finish(Outcome.CLIENT_CLOSED, "client_closed")

    def shut_down(self) -> None:
        """The worker stops and cannot wait any longer."""
        if self._phase is not _DONE:
            self._downstream.abort()
            self._finish(Outcome.INTERRUPTED, "shutdown")

    def check_deadline(self, now: float) -> None:
        """Ends a call that has been silent for longer than its phase allows. Called a few times a second."""
        silent = now - self.last_at
        if self._phase is _ANSWERING:
            if silent > self._line.idle_timeout:
                stalled = (Outcome.CLIENT_CLOSED, "client_stalled")
                self._fail(*(stalled if self.paused else (Outcome.TIMEOUT, "idle_timeout")))
        elif not self._request_done:
            if silent <= self._line.body_timeout or self._phase is not _ASKED:
                return
            if self._held_back:
                self._fail(Outcome.TIMEOUT, "upload_stalled")
            else:
                self._refuse(Refusal(408, "body_timeout", "the request body stopped arriving"), Outcome.TIMEOUT)
        elif silent > self._line.first_byte_timeout and self._phase is _ASKED:
            self._fail(Outcome.TIMEOUT, "first_byte_timeout")

    @property
    def answering(self) -> bool:
        """Whether the answer's head has passed and its body has not ended."""
        return self._phase is _ANSWERING

    # -- from the upstream (proxy.upstream.Carrier)

    def upstream_head(self, head: AnswerHead, *, more: bool) -> None:
        """Passes the head on, then shows it to the meter."""
        at = self.last_at = self._line.clock()
        self._phase = _ANSWERING
        self._downstream.head(head, self.call.call_id, more=more)
        try:
            self.meter.response(head.status, head.headers, at=at)
        except Exception:
            log.exception("meter failed on an answer's head call_id=%s", self.call.call_id)

    def upstream_data(self, raw: bytes, payload: bytes, chunks: int) -> None:
        """Passes body bytes on, then shows them to the meter."""
        at = self.last_at = self._line.clock()
        self._downstream.chunk(raw, payload)
        try:
            self.meter.feed(payload, at=at, chunks=chunks)
        except Exception:
            log.exception("meter failed call_id=%s", self.call.call_id)

    def upstream_end(self) -> None:
        """The answer is whole."""
        self._connection = None
        self._downstream.end()
        self._finish(Outcome.OK, None)

    def upstream_failed(self, outcome: Outcome, reason: str) -> None:
        """The answer broke off, or never came."""
        self._connection = None
        self._fail(outcome, reason)

    def upstream_blocked(self, blocked: bool) -> None:
        """The upstream takes the request slower than it comes: back-pressure to the client."""
        self._held_back = blocked
        self.last_at = self._line.clock()
        self._downstream.pause(blocked)

    # -- inside

    async def _connect(self, route: UpstreamRoute, key: tuple[str, str]) -> None:
        try:
            connection = await self._line.pool.connect(route, key)
        except ConnectFailed as failure:
            self._task = None
            self._fail(failure.outcome, failure.reason)
            return
        except Exception:
            log.exception("connecting failed call_id=%s", self.call.call_id)
            self._task = None
            self._fail(Outcome.WEIR_FAULT, "connect_failed")
            return
        self._task = None
        if self._phase is _DONE:
            connection.abort()
            return
        self._send_first(connection)

    def _send_first(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        self._phase = _ASKED
        parts, self._waiting = self._waiting, []
        if self._waiting_bytes > MAX_WAITING:
            self._downstream.pause(False)  # first, as `begin` may find that the upstream is slow and pause again
        connection.begin(self, parts, head_only=self._head_only)
        self.last_at = self._line.clock()
        self.overhead = self.last_at - self.received_at
        if self.paused:
            connection.pause(True)
        if self._request_done:
            self._request_sent()

    def _request_sent(self) -> None:
        assert self._connection is not None
        self._connection.request_complete()
        self._meter_request()

    def _keep_copy(self, data: bytes) -> None:
        size = len(data)
        if self._copy_bytes + size <= self._line.meter_request_bytes and size <= self._line.copy_room:
            self._copy.append(data)
            self._copy_bytes += size
            self._line.copy_room -= size
        else:
            self._truncated = True

    def _meter_request(self) -> None:
        """Shows the meter its copy of the request, after it has been sent; a large one in a thread."""
        copy, self._copy = self._copy, []
        body = copy[0] if len(copy) == 1 else b"".join(copy)
        if len(body) <= INLINE_JSON:
            self._read_request(body)
        else:
            self._parsing = self._line.in_thread(lambda: self._read_request(body))

    def _read_request(self, body: bytes) -> None:
        told = self.decision
        try:
            self.meter.request(
                body,
                content_type=told.content_type,
                content_encoding=told.content_encoding,
                truncated=self._truncated,
            )
        except Exception:
            log.exception("meter failed on a request call_id=%s", self.call.call_id)

    def _refuse(self, refusal: Refusal, outcome: Outcome) -> None:
        if self._phase is _ANSWERING:
            self._downstream.abort()
        else:
            self._own_status = refusal.status
            self._downstream.refuse(refusal, self.call.call_id)
        self._finish(outcome, refusal.reason)

    def _fail(self, outcome: Outcome, reason: str) -> None:
        status = 504 if outcome is Outcome.TIMEOUT else 502
        what = _REASONS.get(reason, reason)
        self._refuse(Refusal(status, reason, f"upstream {self.call.upstream!r} gave no answer: {what}"), outcome)

    def _finish(self, outcome: Outcome, error: str | None) -> None:
        if self._phase is _DONE:
            return
        self._phase = _DONE
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        at = self._line.clock()
        if self._copy:  # not shown to the meter yet: the request was not sent whole
            self._truncated = self._truncated or not self._request_done
            self._meter_request()
        if self._parsing is not None and not self._parsing.done():
            self._parsing.add_done_callback(lambda _: self._conclude(outcome, error, at))
        else:
            self._conclude(outcome, error, at)

    def _conclude(self, outcome: Outcome, error: str | None, at: float) -> None:
        try:
            reading = self.meter.finish(outcome, at=at)
        except Exception:
            log.exception("meter failed at the end call_id=%s", self.call.call_id)
            reading = Reading(outcome=outcome, meter_fault="meter_failed")
        reading.request_bytes = self.request_bytes
        if self._own_status is not None:
            reading.http_status = self._own_status
        if self.overhead is not None:
            reading.overhead_us = round(self.overhead * 1e6)
        if error is not None and reading.outcome == outcome:
            reading.error_type = error
        self._line.copy_room += self._copy_bytes
        self._line.finished(self, reading)
