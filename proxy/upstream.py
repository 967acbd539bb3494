"""The upstream side of a call: connections over HTTP/1.1, kept alive, that hand bytes on as they come.

A connection serves one exchange at a time and tells it, by plain method calls, what arrived: the head, then body bytes
with the framing they came in. Heads are parsed (`proxy.answer_head`); bodies are only counted or validated
(`proxy.chunked`), never collected. What goes wrong becomes an `Outcome` and a reason here, an exception nowhere else.

Connections are pooled per (upstream, key fingerprint), so that whatever an upstream does to a connection stays within
one tenant; bytes that arrive when nobody asked for any close the connection instead of reaching the next caller.
Nothing is ever sent twice: an LLM call costs money.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol, cast

import certifi

from proxy.answer_head import AnswerHead
from proxy.chunked import ChunkedError, ChunkedReader, Piece
from proxy.route import UpstreamRoute
from store.record import Outcome

MAX_HEAD = 64 << 10
"""Bytes of an answer's head. nginx's default is 4 to 8 KiB; rate-limit and cookie headers stay far below this."""
IDLE_SECONDS = 60.0
"""How long an unused connection is kept. Servers close theirs after 5 to 120 s, which is noticed at once."""
MAX_IDLE = 512
"""Unused connections kept per worker; the oldest goes first."""

PoolKey = tuple[str, str]
"""(upstream name, key fingerprint)"""


class Carrier(Protocol):
    """Who is told what a connection receives: the exchange that uses it."""

    def upstream_head(self, head: AnswerHead, *, more: bool) -> None:
        """The answer's head is whole. `more`: body bytes, or the end, follow before anything else happens."""

    def upstream_data(self, raw: bytes, payload: bytes, chunks: int) -> None:
        """Body bytes: as framed on the wire, the content alone, and how many HTTP chunks ended in them."""

    def upstream_end(self) -> None:
        """The answer is whole; the connection no longer belongs to the carrier."""

    def upstream_failed(self, outcome: Outcome, reason: str) -> None:
        """The answer will not become whole; the connection is closed."""

    def upstream_blocked(self, blocked: bool) -> None:
        """Whether the upstream takes request bytes slower than they come."""


class ConnectFailed(Exception):
    """No connection came about. `reason` is one of dns, refused, unreachable, tls, tls_ca, connect_timeout."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


_IDLE, _HEAD, _CHUNKED, _LENGTH, _UNTIL_CLOSE, _CLOSED = range(6)
"""States. Plain numbers: an attribute of an Enum class costs 0.1 µs, each read and each event."""


class UpstreamConnection(asyncio.Protocol):
    """One connection. Made by `Pool.connect`; busy between `begin` and the carrier's `upstream_end` or `_failed`."""

    def __init__(self, pool: Pool, key: PoolKey) -> None:
        self.key = key
        self.idle_since = 0.0
        self._pool = pool
        self._state = _IDLE
        self._carrier: Carrier | None = None
        self._transport: asyncio.Transport | None = None
        self._held = b""
        self._left = 0
        self._chunked: ChunkedReader | None = None
        self._head_only = False
        self._keep_alive = False
        self._request_done = False
        self._got_bytes = False
        self._paused = False

    def begin(self, carrier: Carrier, parts: list[bytes], *, head_only: bool) -> None:
        """Starts a request for `carrier` by sending `parts`. `head_only`: the answer has no body (HEAD)."""
        self._carrier = carrier
        self._state = _HEAD
        self._head_only = head_only
        self._request_done = self._got_bytes = False
        self.send(parts)

    def send(self, parts: list[bytes]) -> None:
        """Sends request bytes, framed by the caller."""
        if self._transport is not None:
            self._transport.writelines(parts)

    def request_complete(self) -> None:
        """Says that the request has been sent whole, so that the connection can be used again."""
        self._request_done = True

    def pause(self, paused: bool) -> None:
        """Stops or goes on reading the answer: back-pressure of a slow client."""
        if paused != self._paused and self._transport is not None and self._state is not _CLOSED:
            self._paused = paused
            (self._transport.pause_reading if paused else self._transport.resume_reading)()

    @property
    def usable(self) -> bool:
        """Whether the connection can take another request, as far as is known here."""
        return self._state is _IDLE and self._transport is not None and not self._transport.is_closing()

    @property
    def _request_left(self) -> bool:
        """Whether the request is whole and with the kernel: what still waits would stand before the next one."""
        return self._request_done and self._transport is not None and not self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """Closes at once and forgets the carrier: nothing more is reported."""
        self._carrier = None
        self._close()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Sorts what arrived by the state of the answer."""
        self._got_bytes = True
        try:
            if self._state is _CHUNKED:
                self._chunked_data(data)
            elif self._state is _LENGTH:
                self._length_data(data)
            elif self._state is _HEAD:
                self._head_data(data)
            elif self._state is _UNTIL_CLOSE and self._carrier is not None:
                self._carrier.upstream_data(data, data, 1)
            else:
                self._close()  # bytes that nobody asked for: whoever came next would get them
        except ValueError:
            whole_head = self._state is not _HEAD
            self._fail(Outcome.UPSTREAM_CUT if whole_head else Outcome.UPSTREAM_UNREACHABLE, "bad_answer")

    def pause_writing(self) -> None:
        """The upstream takes request bytes slowly."""
        if self._carrier is not None:
            self._carrier.upstream_blocked(True)

    def resume_writing(self) -> None:
        """It takes them again."""
        if self._carrier is not None:
            self._carrier.upstream_blocked(False)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of the connection is the end of the answer only where its framing says so."""
        self._pool.discard(self)
        if self._carrier is None:
            self._state = _CLOSED
        elif self._state is _UNTIL_CLOSE and exc is None:
            self._end()
        else:
            self._fail(Outcome.UPSTREAM_CUT, "connection_closed" if self._got_bytes else "closed_before_answer")

    # -- the answer

    def _head_data(self, data: bytes) -> None:
        data = self._held + data
        self._held = b""
        while self._state is _HEAD:
            end = data.find(b"\r\n\r\n") + 4
            if (len(data) if end == 3 else end) > MAX_HEAD:
                raise ValueError("answer head too large")
            if end == 3:
                self._held = data
                return
            head = AnswerHead(data[:end])
            data = data[end:]
            if head.status >= 200:
                self._answer(head, data)
            elif head.status == 101:
                raise ValueError("upgrade that nobody asked for")
        if data:
            self.data_received(data)

    def _answer(self, head: AnswerHead, rest: bytes) -> None:
        assert self._carrier is not None
        carrier = self._carrier
        more = bool(rest)
        self._keep_alive = head.keep_alive
        if self._head_only or head.status in (204, 304):
            self._state, self._left = _LENGTH, 0
        elif head.chunked:
            self._state, self._chunked = _CHUNKED, ChunkedReader()
            more = b"\n" in rest  # less than a size line gives nothing to pass on yet
        elif head.length is not None:
            self._state, self._left = _LENGTH, head.length
        else:
            self._state = _UNTIL_CLOSE
            head.until_close = True
        empty = self._state is _LENGTH and not self._left
        carrier.upstream_head(head, more=more or empty)
        if empty:
            self._keep_alive = self._keep_alive and not rest
            self._end()

    def _chunked_data(self, data: bytes) -> None:
        assert self._chunked is not None
        reader = self._chunked
        try:
            piece = reader.feed(data)
        except ChunkedError as error:
            if error.before is not None:
                self._pass_on(error.before)
            raise
        self._pass_on(piece)
        if reader.done and self._state is _CHUNKED:
            self._keep_alive = self._keep_alive and not reader.rest
            self._end()

    def _pass_on(self, piece: Piece) -> None:
        if self._carrier is not None and piece.raw:
            self._carrier.upstream_data(piece.raw, piece.payload, piece.chunks)

    def _length_data(self, data: bytes) -> None:
        if len(data) > self._left:
            self._keep_alive = False
            data = data[: self._left]
        self._left -= len(data)
        if self._carrier is not None:
            self._carrier.upstream_data(data, data, 1)
        if not self._left and self._state is _LENGTH:
            self._end()

    def _end(self) -> None:
        carrier, self._carrier = self._carrier, None
        self._chunked = None
        if self._keep_alive and self._request_left and self._state is not _UNTIL_CLOSE:
            self._state = _IDLE
            self.pause(False)
            self._pool.put(self)
        else:
            self._close()
        if carrier is not None:
            carrier.upstream_end()

    def _fail(self, outcome: Outcome, reason: str) -> None:
        carrier, self._carrier = self._carrier, None
        self._close()
        if carrier is not None:
            carrier.upstream_failed(outcome, reason)

    def _close(self) -> None:
        self._state = _CLOSED
        if self._transport is not None:
            self._transport.abort()


class Pool:
    """The connections of one worker. All methods are for the event loop's thread."""

    def __init__(self, *, connect_timeout: float, clock: Callable[[], float]) -> None:
        self._connect_timeout = connect_timeout
        self._clock = clock
        self._idle: dict[PoolKey, list[UpstreamConnection]] = {}
        self._count = 0

    def take(self, key: PoolKey) -> UpstreamConnection | None:
        """The connection used last for this key, if one is free."""
        while free := self._idle.get(key):
            connection = free.pop()
            self._count -= 1
            if not free:
                del self._idle[key]
            if connection.usable:
                return connection
        return None

    async def connect(self, route: UpstreamRoute, key: PoolKey) -> UpstreamConnection:
        """Opens a connection, TLS included. Raises ConnectFailed."""
        try:
            context = tls_context(route.ca_file) if route.scheme == "https" else None
        except OSError:  # ssl.SSLError is one: the file of authorities is not there, or is none
            raise ConnectFailed(Outcome.UPSTREAM_UNREACHABLE, "tls_ca") from None
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: UpstreamConnection(self, key),
                    route.host,
                    route.port,
                    ssl=context,
                    server_hostname=route.host if context else None,
                )
        except TimeoutError:
            raise ConnectFailed(Outcome.TIMEOUT, "connect_timeout") from None
        except socket.gaierror:
            raise ConnectFailed(Outcome.UPSTREAM_UNREACHABLE, "dns") from None
        except ssl.SSLError:
            raise ConnectFailed(Outcome.UPSTREAM_UNREACHABLE, "tls") from None
        except ConnectionRefusedError:
            raise ConnectFailed(Outcome.UPSTREAM_UNREACHABLE, "refused") from None
        except OSError:
            raise ConnectFailed(Outcome.UPSTREAM_UNREACHABLE, "unreachable") from None
        return connection

    def put(self, connection: UpstreamConnection) -> None:
        """Takes a connection back for the next call with the same key."""
        connection.idle_since = self._clock()
        self._idle.setdefault(connection.key, []).append(connection)
        self._count += 1
        if self._count > MAX_IDLE:
            self._oldest().abort()

    def discard(self, connection: UpstreamConnection) -> None:
        """Forgets a connection that is gone."""
        free = self._idle.get(connection.key)
        if free and connection in free:
            free.remove(connection)
            self._count -= 1
            if not free:
                del self._idle[connection.key]

    def sweep(self) -> None:
        """Closes what has been idle for too long."""
        before = self._clock() - IDLE_SECONDS
        for connection in [c for free in self._idle.values() for c in free if c.idle_since < before]:
            self.discard(connection)
            connection.abort()

    def close(self) -> None:
        """Closes every idle connection."""
        for connection in [c for free in self._idle.values() for c in free]:
            self.discard(connection)
            connection.abort()

    def _oldest(self) -> UpstreamConnection:
        oldest = min((free[0] for free in self._idle.values()), key=lambda connection: connection.idle_since)
        self.discard(oldest)
        return oldest


@lru_cache(maxsize=64)
def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Verifying TLS with the system's roots, certifi's where the system has none, and `ca_file` on top."""
    paths = ssl.get_default_verify_paths()
    context = ssl.create_default_context(cafile=None if paths.cafile or paths.capath else certifi.where())
    if ca_file:
        context.load_verify_locations(ca_file)
        # From 3.13 on Python also asks for extensions (key identifiers, key usage) that many private authorities lack.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    return context
