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
from dataclasses import dataclass, field

from proxy.call_ids import CallIds
from proxy.durability import GroupCommit
from proxy.estimates import Estimate, apply_estimate
from proxy.exchange import Downstream, Exchange, Line
from proxy.gate import Framing, Refusal, check_headers, check_target, head_too_large
from proxy.headers import Headers, RequestHead, request_head
from proxy.identity import Identity, MalformedLabel, identify, key_id
from proxy.meter import Meter
from proxy.route import Router, Target, upstream_route
from proxy.settings import Settings
from proxy.tokens import estimate
from proxy.upstream import Pool
from store.journal import JournalWriter
from store.record import Call, Outcome, Reading

log = logging.getLogger(__name__)

MAX_PATHS = 2048
"""Targets whose route is remembered: real traffic has some dozen; paths with ids in them push each other out."""
MAX_CACHED_TARGET = 256
MAX_COPIES = 256 << 20
"""Bytes of request bodies that the meters of a worker may hold at one time, for counting should usage be missing."""
MAX_ESTIMATES = 1000
"""Calls waiting for their tokens to be counted; above it, counts stay unknown rather than memory growing."""
PROGRESS_SECONDS = 5.0
"""How often a long call leaves a note of how far it has come, in case its worker is killed."""


@dataclass(slots=True)
class Request:
    """One request as the listener parsed it. `pieces` are body bytes that came before the exchange began."""

    method: bytes = b""
    target: bytes = b""
    version: str = "1.1"
    headers: Headers = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    complete: bool = False
    at: float = 0.0
    """Monotonic seconds when the head was whole."""
    started_at: int = 0
    """The same as microseconds since 1970 UTC."""


class DataPlane:
    """The heart of a worker. All methods are for the event loop's thread."""

    def __init__(self, settings: Settings, *, secret: bytes, journal: JournalWriter, boot_id: str) -> None:
        proxy = settings.proxy
        self.max_head_bytes = proxy.max_head_bytes
        self.head_timeout = proxy.head_timeout
        self.body_timeout = proxy.body_timeout
        self.clock = time.monotonic
        self.active: set[Exchange] = set()
        self._max_streams = proxy.max_streams
        self._secret = secret
        self._journal = journal
        self._boot_id = boot_id
        self._seq = 0
        self._ids = CallIds(time.time_ns, random.Random().getrandbits)
        self._paths: dict[tuple[bytes, bytes], Target | Refusal] = {}
        self._router = Router(
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

    def open(self, request: Request, downstream: Downstream) -> Exchange | None:
        """Begins to carry a request, or refuses it; then the answer has been given and None comes back."""
        try:
            head, framing, target, identity = self._decide(request)
        except _Refused as refused:
            self.reject(request, downstream, refused.refusal, refused.target)
            return None
        call = self._call(request, target, identity)
        meter = Meter(wire_format=target.wire_format, path=target.path, started=request.at)
        exchange = Exchange(self._line, call, meter, downstream, request.at)
        exchange.content_type, exchange.content_encoding = head.content_type, head.content_encoding
        exchange.estimate_mode = target.upstream.estimate
        exchange.chunked = framing.length is None
        self.active.add(exchange)
        self._journal.intent(call)
        for piece in request.pieces:
            exchange.body(piece)
        if request.complete:
            exchange.body_end()
        if self._durable is None:
            self._begin(exchange, request, head, target)
        else:
            self._durable.when_durable(lambda _on_disk: self._begin(exchange, request, head, target))
        return exchange

    def reject(self, request: Request, downstream: Downstream, refusal: Refusal, target: Target | None = None) -> None:
        """Answers with a refusal and leaves the row of it. Nothing is forwarded."""
        call = self._call(request, target, Identity())
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

    # -- deciding

    def _decide(self, request: Request) -> tuple[RequestHead, Framing, Target, Identity]:
        route = self._route(request.method, request.target)
        target = route if isinstance(route, Target) else None
        head = RequestHead(request.headers)
        if head.size + len(request.target) > self.max_head_bytes:
            raise _Refused(head_too_large(self.max_head_bytes), target)
        framing = check_headers(request.version, head, self._line.max_request_bytes)
        if isinstance(framing, Refusal):
            raise _Refused(framing, target)
        if not isinstance(route, Target):
            raise _Refused(route)
        if len(self.active) >= self._max_streams:
            text = f"this worker already carries proxy.max_streams = {self._max_streams} calls; try again"
            raise _Refused(Refusal(503, "too_many_streams", text), target)
        try:
            return head, framing, route, identify(head, route.query, route.labels)
        except MalformedLabel as error:
            raise _Refused(error.refusal(), target) from None

    def _route(self, method: bytes, target: bytes) -> Target | Refusal:
        """Gate and router, remembered: the decision for a method and target never changes in a worker's life."""
        known = self._paths.get((method, target))
        if known is None:
            known = check_target(method, target) or self._router.route(method.decode("ascii"), target)
            # Query strings may hold keys, which must not stay in memory for the life of the process.
            if len(target) <= MAX_CACHED_TARGET and b"?" not in target:
                if len(self._paths) >= MAX_PATHS:
                    self._paths.clear()
                self._paths[method, target] = known
        return known

    def _call(self, request: Request, target: Target | None, identity: Identity) -> Call:
        self._seq += 1
        call_id = self._ids.next()
        call = Call(
            call_id=call_id,
            boot_id=self._boot_id,
            seq=self._seq,
            started_at=request.started_at,
            method=request.method.decode("ascii", "replace")[:16],
            path=target.path if target else _loggable(request.target),
            session_id=identity.session or call_id,
            session_source=identity.session_source,
            project=identity.project,
            user_id=identity.user,
            key_id=key_id(self._secret, identity.credential),
            tags=identity.tags,
            trace_id=identity.trace_id,
        )
        if target is not None:
            call.upstream, call.provider = target.upstream.name, target.upstream.provider
            call.operation, call.wire_format = target.operation, target.wire_format
        return call

    def _begin(self, exchange: Exchange, request: Request, head: RequestHead, target: Target) -> None:
        if exchange in self.active:
            exchange.begin(
                target.upstream,
                request_head(request.method, target.target, target.upstream.authority, head),
                head_only=request.method == b"HEAD",
            )

    # -- ending

    def _finished(self, exchange: Exchange, reading: Reading) -> None:
        self.active.discard(exchange)
        mode = exchange.estimate_mode
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


class _Refused(Exception):
    def __init__(self, refusal: Refusal, target: Target | None = None) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal
        self.target = target


def _loggable(target: bytes) -> str:
    """A refused target's path as printable ASCII, cut short; the query stays out."""
    path = target.partition(b"?")[0][:200]
    return "".join(chr(byte) if 0x20 < byte < 0x7F else "\N{REPLACEMENT CHARACTER}" for byte in path)
