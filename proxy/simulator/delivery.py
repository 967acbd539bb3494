"""Sends a prepared answer over ASGI: its pace, its content coding and the faults on the way.

Faults that HTTP cannot express (a reset, bytes that are not HTTP, an end without the last chunk) need the socket
itself; the protocol class in `server.py` leaves it in the connection's scope.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from proxy.simulator.coding import Encoder, encoder
from proxy.simulator.ledger import Entry
from proxy.simulator.steering import Steering

GARBAGE = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc not HTTP at all \x00\xff\r\n\r\n"
BROKEN_EVENT = b'data: {"id": "chatcmpl-\xff\xfe, "choices": [{]}\n\n'
HANG_LIMIT = 3600.0
"""A hanging answer ends at last even if nobody closes the connection."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """An answer ready to be sent."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    parts: Iterable[bytes]
    streamed: bool = False
    broken: bytes = b""
    """The provider's error event."""


class ClientGone(Exception):
    """The other side closed the connection."""


class Delivery:
    """One answer on its way: an ASGI application for one request."""

    def __init__(self, reply: Reply, steering: Steering, entry: Entry) -> None:
        self._reply = reply
        self._steering = steering
        self._entry = entry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and write into the ledger how that ended."""
        line = _Line(scope, receive, send)
        try:
            await self._deliver(line)
        except ClientGone:
            self._entry.closed_by_client = True
        finally:
            line.release()

    async def _deliver(self, line: _Line) -> None:
        await line.wait(self._steering.delay)
        if await self._fault_before(line):
            return
        await (self._stream(line) if self._reply.streamed else self._document(line))

    async def _fault_before(self, line: _Line) -> bool:
        """Commit a fault that takes the place of the answer; True if it did."""
        match self._steering.fault.kind:
            case "reset":
                await line.reset()
            case "hang":
                await line.wait(HANG_LIMIT)
            case "garbage":
                await line.cut(GARBAGE)
            case _:
                return False
        return True

    async def _document(self, line: _Line) -> None:
        coder = self._coder()
        body = b"".join(map(coder.piece, self._reply.parts)) + coder.end()
        await line.head(self._reply.status, [*self._headers(), ("content-length", str(len(body)))])
        if self._steering.fault.kind.endswith("-after"):
            await line.part(body[: len(body) // 2])
            await self._fault_within(line)
            return
        await line.part(body, more=False)
        self._entry.events = 1
        self._entry.finished = True

    async def _stream(self, line: _Line) -> None:
        coder = self._coder()
        await line.head(self._reply.status, self._headers())
        for index, part in enumerate(self._reply.parts):
            if index:
                await line.wait(self._steering.gap)
            if index == self._steering.fault.number and await self._fault_within(line, coder):
                return
            await line.part(coder.piece(part))
            self._entry.events += 1
        if self._entry.events <= self._steering.fault.number and await self._fault_within(line, coder):
            return
        await line.part(coder.end(), more=False)
        self._entry.finished = True

    async def _fault_within(self, line: _Line, coder: Encoder | None = None) -> bool:
        """Commit a fault in the middle of the body; True if the answer ends with it."""
        coder = coder or encoder("")
        match self._steering.fault.kind:
            case "cut-after":
                await line.cut()
            case "reset-after":
                await line.reset()
            case "hang-after":
                await line.wait(HANG_LIMIT)
            case "error-event-after" if self._reply.streamed:
                await line.part(coder.piece(self._reply.broken) + coder.end(), more=False)
            case "garbage-after" if self._reply.streamed:
                await line.part(coder.piece(BROKEN_EVENT))
                return False
            case "error-event-after" | "garbage-after":
                await line.cut()
            case _:
                return False
        return True

    def _coder(self) -> Encoder:
        fault = self._steering.fault.kind
        return encoder(fault if fault == "truncated-gzip" else self._steering.encoding)

    def _headers(self) -> list[tuple[str, str]]:
        coding = "gzip" if self._steering.fault.kind == "truncated-gzip" else self._steering.encoding
        return [*self._reply.headers, *([("content-encoding", coding)] if coding else [])]


class _Line:
    """The connection to the caller, with an eye on whether the caller is still there."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._send = send
        self._gone = asyncio.ensure_future(_until_disconnect(receive))

    async def wait(self, seconds: float) -> None:
        """Let time pass; ends at once when the caller leaves."""
        if seconds > 0:
            await asyncio.wait([self._gone], timeout=seconds)
        if self._gone.done() or self._transport.is_closing():
            raise ClientGone

    async def head(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Status line and headers."""
        raw = [(name.encode(), value.encode()) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def part(self, data: bytes, *, more: bool = True) -> None:
        """A piece of the body: one HTTP chunk of a stream."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        if more:
            # uvicorn's send does not yield while the socket takes the bytes, so nobody would see a caller leave.
            await asyncio.sleep(0)

    async def cut(self, last: bytes = b"") -> None:
        """Close the connection in good order, though the message is not whole."""
        self._transport.write(last)
        self._transport.close()
        await asyncio.wait([self._gone], timeout=10)

    async def reset(self) -> None:
        """Break the connection with a TCP reset."""
        plug = self._transport.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
        await asyncio.wait([self._gone], timeout=10)

    def release(self) -> None:
        """Stop looking."""
        self._gone.cancel()


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
