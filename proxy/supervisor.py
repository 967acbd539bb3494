"""`weir serve`: binds the two ports, starts one recorder and the workers, restarts what dies, passes signals on.

The supervisor carries nothing and knows nothing of calls. It holds the listening sockets, so that a restart of a child
refuses no connection, and the children's standard input, so that they notice when the supervisor itself is gone.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from types import FrameType

from proxy.settings import Settings

log = logging.getLogger("weir")

POLL_SECONDS = 0.05
FIRST_DELAY, MAX_DELAY = 0.1, 10.0
"""Seconds before a child that died young is started again; doubled each time."""
YOUNG = 5.0
RECORDER_GRACE = 15.0
"""Seconds that the recorder gets for its last batch; what it leaves stays in the journal for the next start."""


class StartError(Exception):
    """weir cannot start; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(slots=True)
class Child:
    """One child process, over all its lives."""

    name: str
    module: str
    arguments: list[str]
    fd: int
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    delay: float = 0.0
    due: float = 0.0
    exits: list[int] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self, settings_line: bytes) -> None:
        """Starts the process and hands it the settings, which hold secrets and so go through a pipe."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module, *self.arguments],
            stdin=subprocess.PIPE,
            pass_fds=(self.fd,),
            process_group=0,  # Ctrl-C is for the supervisor alone; not a new session, in which niceness would not count
        )
        self.started_at = time.monotonic()
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(settings_line + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            log.error("%s died at once", self.name)

    def schedule(self, now: float) -> None:
        """Decides when a dead process is started again."""
        young = now - self.started_at < YOUNG
        self.delay = min(max(self.delay * 2, FIRST_DELAY), MAX_DELAY) if young else FIRST_DELAY
        self.due = now + self.delay

    def send(self, number: signal.Signals) -> None:
        """Sends a signal if the process lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def wait(self, until: float) -> bool:
        """Waits for the end of the process; False when it did not come in time."""
        while self.running and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return not self.running


class Supervisor:
    """Owns the children from start to end."""

    def __init__(self, settings: Settings) -> None:
        self._lock = _lock_data(settings)
        proxy_socket = bind(settings.proxy.host, settings.proxy.port, "proxy.port")
        admin_socket = bind(settings.admin.host, settings.admin.port, "admin.port")
        self.settings = settings.model_copy(
            update={
                "proxy": settings.proxy.model_copy(update={"port": proxy_socket.getsockname()[1]}),
                "admin": settings.admin.model_copy(update={"port": admin_socket.getsockname()[1]}),
            }
        )
        self._sockets = (proxy_socket, admin_socket)
        self._line = self.settings.to_wire().encode()
        self._recorder = Child("recorder", "proxy.recorder", _fd("--admin-fd", admin_socket), admin_socket.fileno())
        self._workers = [
            Child(f"worker {number}", "proxy.worker", _fd("--fd", proxy_socket), proxy_socket.fileno())
            for number in range(1, settings.proxy.workers + 1)
        ]
        self._signals = 0

    def run(self) -> int:
        """Starts everything, keeps it running until SIGTERM or SIGINT, then drains. Returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for child in (self._recorder, *self._workers):
            child.start(self._line)
        self._announce()
        while not self._signals:
            self._revive()
            time.sleep(POLL_SECONDS)
        self._drain()
        return 0

    def _announce(self) -> None:
        proxy, admin = (_address(*sock.getsockname()[:2]) for sock in self._sockets)
        print(f"weir: proxy on http://{proxy}   admin on http://{admin}", flush=True)
        print(f"point your app here: OPENAI_BASE_URL=http://{proxy}/openai/v1", flush=True)

    def _revive(self) -> None:
        now = time.monotonic()
        for child in (self._recorder, *self._workers):
            if child.running:
                continue
            if child.process is not None:
                log.warning("%s ended code=%s; it is started again", child.name, child.process.returncode)
                if child.process.stdin is not None:
                    child.process.stdin.close()
                child.process = None
                child.schedule(now)
            elif now >= child.due:
                child.start(self._line)

    def _drain(self) -> None:
        """Workers first, so that the recorder sees their last records; a second signal does not wait for calls."""
        self._sockets[0].close()  # or new connections would wait here for an answer that never comes
        grace = self.settings.proxy.drain_timeout
        log.warning("draining: running calls get %g seconds", grace)
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        until = time.monotonic() + grace + 5
        while any(worker.running for worker in self._workers) and time.monotonic() < until and self._signals < 2:
            time.sleep(POLL_SECONDS)
        for worker in self._workers:
            worker.send(signal.SIGKILL)
            worker.wait(time.monotonic() + 2)
        self._recorder.send(signal.SIGTERM)
        if not self._recorder.wait(time.monotonic() + RECORDER_GRACE):
            log.error(
                "the recorder did not end in time; what it left is in the journal and is stored at the next start"
            )
            self._recorder.send(signal.SIGKILL)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1


def run(settings: Settings) -> int:
    """Runs `weir serve` with these settings. Raises StartError when it cannot start."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s %(message)s")
    return Supervisor(settings).run()


def bind(host: str, port: int, key: str) -> socket.socket:
    """A listening socket. Raises StartError with the setting's name."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(2048)
    except OSError as error:
        sock.close()
        what = error.strerror or str(error)
        raise StartError(
            f"cannot listen on {_address(host, port)}: {what}",
            f"another program may use it: choose another {key} (0 takes a free one), or stop the other program",
        ) from None
    sock.set_inheritable(True)
    return sock


def _lock_data(settings: Settings) -> int:
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(settings.data / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            f"cannot write to the data folder {settings.data}: {error.strerror}", "name another one with --data"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StartError(
            f"another weir already runs on the data folder {settings.data}",
            "stop it, or give this one its own folder with --data",
        ) from None
    return lock


def _fd(option: str, sock: socket.socket) -> list[str]:
    return [option, str(sock.fileno())]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
