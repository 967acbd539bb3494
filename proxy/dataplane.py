"""What one worker does with a request: decide in one place, hand it to an exchange, and record how it ended.

Deciding is synchronous and done by the pure files (`gate`, `route`, `identity`, `headers`); this file calls them in
order, numbers the call, writes its INTENT before anything goes upstream, and its OUTCOME when it has ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from proxy.call_ids import CallIds
from proxy.decide import Decider, Decision, Refused, Request
from proxy.durability import GroupCommit
from proxy.estimates import Estimate, apply_estimate
from proxy.exchange import Downstream, Exchange, Line
from proxy.gate import Refusal
from proxy.route import Router, Target, upstream_route
from proxy.settings import Settings
from proxy.tokens import estimate
from proxy.upstream import Pool
from store.journal import JournalWriter
from store.record import Call, Outcome, Reading

log = logging.getLogger(__name__)

MAX_COPIES = 256 << 20
"""Bytes of request bodies that the meters of a worker may hold at one time, for counting should usage be missing."""
MAX_ESTIMATES = 1000
"""Calls waiting for their tokens to be counted; above it, counts stay unknown rather than memory growing."""
PROGRESS_SECONDS = 5.0
"""How often a long call leaves a note of how far it has come, in case its worker is killed."""


class DataPlane:
    """The heart of a worker. All methods are for the event loop's thread."""

    def __init__(self, settings: Settings, *, secret: bytes, journal: JournalWriter, boot_id: str) -> None:
        proxy = settings.proxy
        self.max_head_bytes = proxy.max_head_bytes
        self.max_request_bytes = proxy.max_request_bytes
        self.head_timeout = proxy.head_timeout
        self.body_timeout = proxy.body_timeout
        self.clock = time.monotonic
        self.active: set[Exchange] = set()
        self._max_streams = proxy.max_streams
        self._journal = journal
        self._boot_id = boot_id
        self._seq = 0
        self._ids = CallIds(time.time_ns, random.Random().getrandbits)
        router = Router(
            {
                name: upstream_route(
                    name,
                    upstream.base_url,
                    provider=upstream.provider,
                    estimate=upstream.estimate,
                    ca_file=str(upstream.verify_tls_ca) if upstream.verify_tls_ca else None,
                    wire=upstream.wire,
                )
                for name, upstream in settings.upstreams.items()
            },
            proxy.default_upstream,
        )
        self._decider = Decider(
            router, secret=secret, max_head_bytes=proxy.max_head_bytes, max_request_bytes=proxy.max_request_bytes
        )
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="weir-count")
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="weir-sync")
        self._durable = GroupCommit(journal.sync, self._disk) if settings.journal.durability == "strict" else None
        self._counting: set[asyncio.Future[Estimate]] = set()
        self._line = Line(
            pool=Pool(connect_timeout=proxy.connect_timeout, clock=self.clock),
            clock=self.clock,
            finished=self._finished,
            in_thread=self._in_thread,
            max_request_bytes=proxy.max_request_bytes,
            meter_request_bytes=proxy.meter_request_bytes,
            copy_room=MAX_COPIES,
            first_byte_timeout=proxy.first_byte_timeout,
            body_timeout=proxy.body_timeout,
            idle_timeout=proxy.idle_timeout,
        )

    def decide(self, request: Request, downstream: Downstream) -> Decision | None:
        """What to do with a request; None when it was refused, and then that has been answered and recorded."""
        try:
            return self._decider.decide(request)
        except Refused as refused:
            self.reject(request, downstream, refused.refusal, refused.target)
            return None

    def open(
        self, request: Request, downstream: Downstream, decision: Decision, outgoing: bytes = b""
    ) -> Exchange | None:
        """Begins to carry a request; `outgoing` in place of the decision's own head. None when there is no room."""
        target = decision.target
        if len(self.active) >= self._max_streams:
            text = f"this worker already carries proxy.max_streams = {self._max_streams} calls; try again"
            self.reject(request, downstream, Refusal(503, "too_many_streams", text), target)
            return None
        call = self._call(request, decision)
        exchange = Exchange(self._line, call, decision, downstream, received_at=request.at)
        self.active.add(exchange)
        written = self._journal.intent(call)
        if request.complete and not decision.chunked:
            exchange.whole(request.pieces[0] if len(request.pieces) == 1 else b"".join(request.pieces))
        else:
            for piece in request.pieces:
                exchange.body(piece)
            if request.complete:
                exchange.body_end()
        outgoing = outgoing or decision.outgoing
        if self._durable is None:
            self._begin(exchange, decision, outgoing)
        else:
            self._durable.when_durable(
                lambda synced: self._begin(exchange, decision, outgoing, durable=synced and written)
            )
        return exchange

    def reject(self, request: Request, downstream: Downstream, refusal: Refusal, target: Target | None = None) -> None:
        """Answers with a refusal and leaves the row of it. Nothing is forwarded."""
        call = self._refused_call(request, target)
        downstream.refuse(refusal, call.call_id)
        reading = Reading(outcome=Outcome.REJECTED, http_status=refusal.status, error_type=refusal.reason)
        reading.duration_us = round((self.clock() - request.at) * 1e6)
        self._journal.outcome(call, reading)

    def tick(self) -> None:
        """Deadlines, notes of long calls, idle connections, and what the disk refused before. Some times a second."""
        now = self.clock()
        for exchange in list(self.active):
            exchange.check_deadline(now)
            if exchange.answering and now - exchange.progress_at > PROGRESS_SECONDS:
                exchange.progress_at = now
                self._journal.progress(exchange.call, exchange.meter.snapshot(at=now))
        self._line.pool.sweep()
        if self._journal.waiting:
            self._journal.retry()

    async def close(self) -> None:
        """Ends what still runs, waits for the last counts, and closes the journal."""
        for exchange in list(self.active):
            exchange.shut_down()
        await asyncio.gather(*self._counting, return_exceptions=True)
        self._line.pool.close()
        self._threads.shutdown()
        self._disk.shutdown()
        self._journal.close()

    # -- beginning

    def _call(self, request: Request, decision: Decision) -> Call:
        self._seq += 1
        call_id = self._ids.next()
        call = Call(call_id, self._boot_id, self._seq, request.started_at, *decision.columns)
        if not call.session_id:
            call.session_id = call_id
        return call

    def _refused_call(self, request: Request, target: Target | None) -> Call:
        self._seq += 1
        call_id = self._ids.next()
        method = request.method.decode("ascii", "replace")[:16]
        path = target.path if target is not None else _loggable(request.target)
        call = Call(call_id, self._boot_id, self._seq, request.started_at, method, path, session_id=call_id)
        if target is not None:
            call.upstream, call.provider = target.upstream.name, target.upstream.provider
            call.operation, call.wire_format = target.operation, target.wire_format
        return call

    def _begin(self, exchange: Exchange, decision: Decision, outgoing: bytes, *, durable: bool = True) -> None:
        if exchange not in self.active:
            return
        if not durable:
            text = "journal.durability is strict, and the journal could not be brought to disk"
            exchange.broken(Refusal(503, "journal_unavailable", text))
        else:
            exchange.begin(decision.target.upstream, outgoing, head_only=decision.method == "HEAD")

    # -- ending

    def _finished(self, exchange: Exchange, reading: Reading) -> None:
        self.active.discard(exchange)
        mode = exchange.decision.target.upstream.estimate
        if not exchange.meter.needs_estimate or mode == "off" or len(self._counting) >= MAX_ESTIMATES:
            self._journal.outcome(exchange.call, reading)
            return
        job = exchange.meter.estimate_job(mode)
        future = asyncio.get_running_loop().run_in_executor(self._threads, estimate, job)
        self._counting.add(future)
        future.add_done_callback(lambda done: self._estimated(exchange, reading, done))

    def _estimated(self, exchange: Exchange, reading: Reading, done: asyncio.Future[Estimate]) -> None:
        self._counting.discard(done)
        error = done.exception()
        if error is None:
            apply_estimate(reading, done.result())
        else:
            log.error("tokens could not be counted call_id=%s error=%s", exchange.call.call_id, type(error).__name__)
        self._journal.outcome(exchange.call, reading)

    def _in_thread(self, work: Callable[[], None]) -> asyncio.Future[None]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)


def _loggable(target: bytes) -> str:
    """A refused target's path as printable ASCII, cut short; the query stays out."""
    path = target.partition(b"?")[0][:200]
    return "".join(chr(byte) if 0x20 < byte < 0x7F else "\N{REPLACEMENT CHARACTER}" for byte in path)
