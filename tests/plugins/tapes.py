"""Tapes and their player: a raw TCP upstream that answers with recorded bytes, one write per HTTP chunk. It
keeps what it was asked.

The player knows no HTTP beyond finding the end of a request, so it can answer with anything, wrong HTTP included.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.plugins.rawhttp import Closed, Message, Reader, read_body, read_head

TAPES = Path(__file__).resolve().parent.parent / "tapes"
GAP = 0.002
"""Seconds between two writes: enough that they reach the other side one by one."""


@dataclass(frozen=True)
class Tape:
    """One recorded exchange."""

    name: str
    request: bytes
    response: bytes

    @property
    def target(self) -> str:
        return self.request.split(b" ", 2)[1].decode()

    def asked(self, prefix: str, host: bytes = b"upstream.test") -> bytes:
        """The request with a prefix before its path and another host."""
        first, _, rest = self.request.partition(b"\r\n")
        method, target, version = first.split(b" ")
        changed = rest.replace(b"Host: upstream.test", b"Host: " + host, 1)
        return b" ".join([method, prefix.encode() + target, version]) + b"\r\n" + changed

    @property
    def writes(self) -> list[bytes]:
        return writes(self.response)


def tape(name: str) -> Tape:
    read = {side: (TAPES / f"{name}.{side}.http").read_bytes() for side in ("request", "response")}
    return Tape(name, read["request"], read["response"])


def names() -> list[str]:
    return sorted(path.name.removesuffix(".response.http") for path in TAPES.glob("*.response.http"))


def writes(response: bytes) -> list[bytes]:
    """The response cut into what its server wrote: the head, then each HTTP chunk; else all in one piece."""
    head, blank, body = response.partition(b"\r\n\r\n")
    if b"\r\ntransfer-encoding: chunked" not in head.lower():
        return [response]
    pieces = [head + blank]
    while body:
        start = body.index(b"\r\n") + 2
        end = start + int(body[: start - 2].partition(b";")[0], 16) + 2
        pieces.append(body[:end])
        body = body[end:]
    return pieces


@dataclass
class Script:
    """What to answer: the writes, and what happens to the connection afterwards."""

    writes: list[bytes]
    then: str = "keep"
    """keep, close or reset."""
    gap: float = GAP
    before_body: bytes = b""
    """Written after the request's head, before its body is read: an interim answer."""


Choose = Callable[[Message], Script]


def _choice(script: Script | Choose | list[bytes]) -> Choose:
    if isinstance(script, list):
        script = Script(script)
    return script if callable(script) else lambda _: script


class TapePlayer:
    """A TCP server on loopback; one thread per connection."""

    def __init__(self, script: Script | Choose | list[bytes]) -> None:
        self._choose = _choice(script)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[Message] = []
        """What was asked, in order; `raw` has all bytes."""
        self.connections = 0
        self.client_closed = threading.Event()
        """Set when a client closed its connection."""
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def play(self, script: Script | Choose | list[bytes]) -> None:
        """Another answer from now on, and a clean list of requests."""
        self._choose = _choice(script)
        self.requests.clear()
        self.client_closed.clear()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def authority(self) -> bytes:
        return f"127.0.0.1:{self.port}".encode()

    def close(self) -> None:
        # shutdown wakes the thread in accept; close alone would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for plug in list(self._open):
            with suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)

    def _accept(self) -> None:
        while True:
            try:
                plug, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(plug)
            threading.Thread(target=self._serve, args=(plug,), daemon=True).start()

    def _serve(self, plug: socket.socket) -> None:
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._talk(plug)
        except (OSError, Closed):
            self.client_closed.set()
        finally:
            self._open.discard(plug)
            plug.close()

    def _talk(self, plug: socket.socket) -> None:
        reader, then = Reader(plug), "keep"
        while then == "keep":
            message = read_head(reader)
            script = self._choose(message)
            plug.sendall(script.before_body)
            read_body(reader, message, until_close=False)
            message.raw = reader.forget()
            self.requests.append(message)
            self._play(plug, script)
            then = script.then
        if then == "reset":
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _play(self, plug: socket.socket, script: Script) -> None:
        for index, data in enumerate(script.writes):
            if index:
                time.sleep(script.gap)
            plug.sendall(data)


@pytest.fixture
def play() -> Iterator[Callable[[Script | Choose | list[bytes]], TapePlayer]]:
    """Starts players that end with the test."""
    players: list[TapePlayer] = []

    def start(script: Script | Choose | list[bytes]) -> TapePlayer:
        players.append(TapePlayer(script))
        return players[-1]

    yield start
    for player in players:
        player.close()
