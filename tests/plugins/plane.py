"""A data plane in this process: real sockets on loopback, a real journal, and a look inside.

For what a whole weir would make slow: short deadlines, broken upstreams, what is left over after a call. Its clock
ticks every 20 ms. Whatever an event loop or a logger of weir complains about while it runs fails the test.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn
import uvloop

from proxy.dataplane import DataPlane
from proxy.listener import Listener
from proxy.settings import Settings
from proxy.worker import make_app
from store.journal import Entry, JournalReader, JournalWriter, Kind, boots
from store.record import Call, Reading
from tests.plugins import rawhttp
from tests.plugins.rawhttp import Connection, Message, Reader, read_body, read_head

Result = TypeVar("Result")
ROOT = Path(__file__).resolve().parent.parent.parent
TICK = 0.02
WAIT = 8.0


def until(what: Callable[[], Result], *, timeout: float = WAIT) -> Result:
    """The first true value of `what`."""
    end = time.monotonic() + timeout
    while not (value := what()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)
    return value


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


class Plane:
    """One data plane. `upstreams`: name -> base URL or table; `proxy`: keys of `[proxy]`."""

    def __init__(self, folder: Path, upstreams: Mapping[str, Any], *, journal: Any = None, **proxy: Any) -> None:
        self.settings = settings_for(folder, upstreams, proxy)
        boot = secrets.token_hex(16)
        self.journal = journal or JournalWriter(folder / "journal", boot)
        self._reader = JournalReader(folder / "journal" / boot) if journal is None else None
        self._entries: list[Entry] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listening.getsockname()[1]
        self.complaints = _Complaints()
        self.plane = DataPlane(self.settings, secret=b"secret", journal=self.journal, boot_id=boot)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), daemon=True)

    def start(self) -> Plane:
        for name in ("proxy", "weir"):
            logging.getLogger(name).addHandler(self.complaints)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        for name in ("proxy", "weir"):
            logging.getLogger(name).removeHandler(self.complaints)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self.complaints.texts.append(str(context)))
        config = uvicorn.Config(
            make_app(), http=Listener.bind(self.plane), lifespan="off", ws="none", access_log=False, log_config=None,
            proxy_headers=False, server_header=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        ticking = asyncio.create_task(self._tick())
        self._ready.set()
        try:
            await self._server.serve(sockets=[self._listening])
        finally:
            ticking.cancel()
            await self.plane.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.plane.tick()
            for connection in list(self._server.server_state.connections):
                connection.sweep(self.plane.clock())  # type: ignore[union-attr]

    # -- from outside

    def connect(self, *, timeout: float = 10.0) -> Connection:
        return Connection(self.port, timeout=timeout)

    def ask(self, request: bytes | list[bytes], *, timeout: float = 10.0) -> Message:
        with self.connect(timeout=timeout) as connection:
            return connection.ask(request)

    def on_loop(self, work: Callable[[], Result]) -> Result:
        """What `work` gives on the event loop's thread."""

        async def run() -> Result:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    @property
    def active(self) -> int:
        return self.on_loop(lambda: len(self.plane.active))

    @property
    def idle(self) -> list[Any]:
        """The free upstream connections."""
        return self.on_loop(lambda: [c for free in self.plane._line.pool._idle.values() for c in free])

    @property
    def connections(self) -> int:
        return self.on_loop(lambda: len(self._server.server_state.connections))

    def entries(self) -> list[Entry]:
        """All that the journal holds."""
        assert self._reader is not None
        while found := self._reader.read():
            self._entries += found
        return self._entries

    def outcomes(self) -> list[tuple[Call, Reading]]:
        """How the calls ended, in the order of their ends."""
        return [(e.call, e.reading) for e in self.entries() if e.kind is Kind.OUTCOME and e.call and e.reading]

    def row(self, answer: Message) -> tuple[Call, Reading]:
        """The one row of an answer."""
        call_id = answer.value("x-weir-call-id")
        assert call_id, "no x-weir-call-id"
        return until(lambda: self._rows(call_id))[0]

    def _rows(self, call_id: str) -> list[tuple[Call, Reading]]:
        rows = [row for row in self.outcomes() if row[0].call_id == call_id]
        assert len(rows) <= 1
        return rows

    def wait_for_rows(self, count: int) -> list[tuple[Call, Reading]]:
        return until(lambda: rows if len(rows := self.outcomes()) >= count else None)  # type: ignore[return-value]

    def balanced(self) -> None:
        """Nothing is in flight, and each number has exactly one outcome."""
        until(lambda: not self.active)
        numbers = sorted(call.seq for call, _ in self.outcomes())
        assert numbers == list(range(1, len(numbers) + 1))


class Asked:
    """One connection that came to an upstream played by hand."""

    def __init__(self, plug: socket.socket) -> None:
        self.plug = plug
        self.reader = Reader(plug)

    def request(self) -> Message:
        """The next request on it."""
        message = read_head(self.reader)
        read_body(self.reader, message, until_close=False)
        message.raw = self.reader.forget()
        return message

    def head(self) -> Message:
        """The head of the next request; its body stays where it is."""
        return read_head(self.reader)

    def send(self, *pieces: bytes, gap: float = 0.0) -> None:
        for piece in pieces:
            self.plug.sendall(piece)
            time.sleep(gap)

    def closed(self, *, timeout: float = 5.0) -> float:
        """Seconds until weir has closed it."""
        self.plug.settimeout(timeout)
        begun = time.monotonic()
        with suppress(ConnectionError):
            while self.plug.recv(65536):
                pass
        return time.monotonic() - begun

    def reset(self) -> None:
        self.plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.plug.close()

    def close(self) -> None:
        self.plug.close()


class Hand:
    """An upstream whose every move the test makes itself."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.settimeout(WAIT)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._taken: list[Asked] = []

    def accept(self, *, timeout: float = WAIT, buffer: int = 0) -> Asked:
        self._listener.settimeout(timeout)
        if buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plug, _ = self._listener.accept()
        plug.settimeout(WAIT)
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._taken.append(Asked(plug))
        return self._taken[-1]

    def asked(self, *answer: bytes) -> Asked:
        """Takes a connection and its request, and answers."""
        asked = self.accept()
        asked.request()
        asked.send(*answer)
        return asked

    def nobody_came(self, seconds: float = 0.05) -> bool:
        try:
            self.accept(timeout=seconds)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        for asked in self._taken:
            asked.close()
        self._listener.close()


class LoneWorker:
    """A worker process without supervisor and recorder: what a whole weir would make slow to start."""

    def __init__(self, folder: Path, upstreams: Mapping[str, Any], **proxy: Any) -> None:
        self.settings, self.folder = settings_for(folder, upstreams, proxy), folder
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listening.set_inheritable(True)
        self.port: int = self._listening.getsockname()[1]
        self._entries: dict[str, list[Entry]] = {}
        self._readers: dict[str, JournalReader] = {}

    def start(self) -> LoneWorker:
        """Starts it, or another one on the same socket and folder."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "proxy.worker", "--fd", str(self._listening.fileno())],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            pass_fds=(self._listening.fileno(),),
        )
        assert self.process.stdin is not None
        self.process.stdin.write(self.settings.to_wire().encode() + b"\n")
        self.process.stdin.flush()
        with Connection(self.port, timeout=40) as connection:
            assert connection.ask(rawhttp.request("GET", "/health")).status == 200
        return self

    def share(self, other: LoneWorker) -> None:
        """Serves on another one's socket."""
        self._listening.close()
        self._listening, self.port = other._listening.dup(), other.port
        self._listening.set_inheritable(True)

    def connect(self, *, timeout: float = 10.0) -> Connection:
        return Connection(self.port, timeout=timeout)

    @property
    def memory(self) -> int:
        """Resident bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def entries(self) -> list[Entry]:
        """All that its journals hold."""
        root = self.folder / "journal"
        for boot in boots(root):
            reader = self._readers.setdefault(boot, JournalReader(root / boot))
            while found := reader.read():
                self._entries.setdefault(boot, []).extend(found)
        return [entry for entries in self._entries.values() for entry in entries]

    def outcomes(self) -> list[tuple[Call, Reading]]:
        return [(e.call, e.reading) for e in self.entries() if e.kind is Kind.OUTCOME and e.call and e.reading]

    def wait_for_rows(self, count: int, *, timeout: float = WAIT) -> list[tuple[Call, Reading]]:
        until(lambda: len(self.outcomes()) >= count, timeout=timeout)
        return self.outcomes()

    def stop(self, *, timeout: float = 20.0) -> int:
        """Ends it if it runs still; its exit code."""
        self.process.terminate()
        code = self.process.wait(timeout)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._listening.close()
        return code


@contextmanager
def working(folder: Path, upstreams: Mapping[str, Any], **proxy: Any) -> Iterator[LoneWorker]:
    """A lone worker for as long as the block runs."""
    worker = LoneWorker(folder, upstreams, **proxy).start()
    try:
        yield worker
    finally:
        worker.stop()


def settings_for(folder: Path, upstreams: Mapping[str, Any], proxy: dict[str, Any]) -> Settings:
    """Name -> base URL or table, and the keys of `[proxy]`; `durability` is the journal's."""
    tables = {k: {"base_url": v} if isinstance(v, str) else v for k, v in upstreams.items()}
    journal = {"durability": proxy.pop("durability", "standard")}
    return Settings.model_validate({"data": folder, "proxy": proxy, "upstreams": tables, "journal": journal})


def how_it_ended(connection: Connection) -> str:
    """cut or reset; whatever comes before is thrown away."""
    return connection.reader.until_end()[1]


def refused(answer: Message, status: int, reason: str) -> None:
    """The shape of every answer that weir makes by itself."""
    assert (answer.status, answer.value("x-weir-error")) == (status, reason), answer
    assert answer.body.startswith(b'{"error":{"type":"weir_%b","message":"' % reason.encode())
    assert answer.value("content-type") == "application/json"
    assert answer.ended == "clean"


@contextmanager
def carrying(folder: Path, upstreams: Mapping[str, Any], **proxy: Any) -> Iterator[Plane]:
    """A plane for as long as the block runs, which complains of nothing."""
    plane = Plane(folder, upstreams, **proxy).start()
    try:
        yield plane
    finally:
        plane.stop()
    assert plane.complaints.texts == []


@pytest.fixture
def hand() -> Iterator[Hand]:
    """An upstream played by hand."""
    played = Hand()
    yield played
    played.close()


@pytest.fixture
def plane(tmp_path: Path, hand: Hand) -> Iterator[Plane]:
    """A plane in front of `hand`, as `/up/…`."""
    with carrying(tmp_path / "data", {"up": hand.url}) as started:
        yield started
