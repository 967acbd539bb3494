"""The control-plane process: journals → price → metrics and SQL, and the admin port.

Started by the supervisor as `python -m proxy.recorder --admin-fd N`, with the settings as one JSON line on standard
input and the admin port's listening socket as descriptor N. Two threads record (`proxy.recording`); the main thread
serves the admin port. SIGTERM, or the end of standard input (the supervisor is gone): what is in the journals is
committed as far as the time allows; the rest stays there for the next start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from importlib import metadata

import uvicorn
from prometheus_client import CollectorRegistry

from proxy.admin.api import routes
from proxy.admin.app import Status, make_app
from proxy.metrics import Levels, Metrics
from proxy.parent import settings_from_parent, when_parent_is_gone
from proxy.pricing import Pricer
from proxy.recording.bookmark import Bookmark
from proxy.recording.deposit import DeadLetters, Deposit, Store, open_ledger
from proxy.recording.intake import Intake
from proxy.recording.pending import Pending
from proxy.settings import Settings
from store.engine import read_only

log = logging.getLogger("weir.recorder")

NICENESS = 19
"""The water goes first: on a full machine the recorder waits, as the journal can, before any stream does."""
PACE = 0.02
"""Seconds between two looks at quiet journals; also what gathers records into one transaction."""
FIRST_ANSWER = 2.0
"""Seconds that counting waits for the store to say where the last recorder stopped."""
STUCK = 30.0
"""Seconds without a turn after which the recorder counts as stuck."""
DRAIN = 10.0
"""Seconds for the last batches at the end; less than the supervisor's patience of 15."""
DRAIN_AWAY = 2.0
"""The same when the store is away anyway."""


class Recorder:
    """The two recording threads and what they share."""

    def __init__(self, settings: Settings, opened: Callable[[], Store] | None = None) -> None:
        data = settings.data
        journal = data / "journal"
        journal.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.metrics = Metrics(CollectorRegistry(), version=_version(), levels=self.levels)
        self._pricer = Pricer(settings.prices, settings.upstreams)
        self._pending = Pending()
        self._bookmark = Bookmark(data / "recorded.json")
        self.intake = Intake(
            journal, self._pricer, self.metrics, self._pending, sync_every=settings.journal.sync_interval
        )
        self.deposit = Deposit(
            opened or (lambda: open_ledger(settings.store.url)),
            self.intake,
            self._pending,
            self.metrics,
            keep_days=settings.store.keep_days,
            dead_letters=DeadLetters(data / "dead-letter.jsonl"),
            bookmark=self._bookmark,
        )
        self._first_answer = threading.Event()
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._turned_at = self._asked_at = time.monotonic()
        self._reader = threading.Thread(target=self._read, name="weir-intake", daemon=True)
        self._writer = threading.Thread(target=self._write, name="weir-deposit", daemon=True)

    def start(self) -> None:
        """Begins to record."""
        self._writer.start()
        self._reader.start()

    def stop(self) -> None:
        """Records what is there, within `DRAIN` seconds, and ends both threads."""
        self._deadline = time.monotonic() + DRAIN
        self._stopping.set()
        self._reader.join(DRAIN + 1)
        self._writer.join(DRAIN_AWAY + 1)
        log.info("event=recorder_stopped waiting=%d", len(self._pending))

    def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics and their content type."""
        return self.metrics.render(accept)

    def levels(self) -> Levels:
        """What a scrape measures."""
        return Levels(
            active_sessions=self.intake.active_sessions,
            queue_depth=len(self._pending),
            queue_capacity=self._pending.capacity,
            lag_seconds=self._lag(),
            journal_bytes=self.intake.journal_bytes,
            workers=self.intake.workers,
            store_up=self.deposit.up,
            price_errors=self._pricer.errors,
            journal_damage=self.intake.journal_damage,
        )

    def status(self) -> Status:
        """How the recorder is, for `/readyz`."""
        now = time.monotonic()
        alive = self._reader.is_alive() and self._writer.is_alive() and now - self._turned_at < STUCK
        store_up = self.deposit.up and now - self._asked_at < STUCK
        return Status(
            ready=alive and self.intake.workers > 0,
            store="ok" if store_up else "degraded",
            workers=self.intake.workers,
            recorder="ok" if alive else "stuck",
            pending=len(self._pending),
            lag_seconds=round(self._lag(), 3),
            journal_bytes=self.intake.journal_bytes,
            dropped=self.metrics.dropped,
        )

    def _lag(self) -> float:
        oldest = self._pending.oldest()
        return 0.0 if oldest is None else max(time.monotonic() - oldest, 0.0)

    def _read(self) -> None:
        if not self._first_answer.wait(FIRST_ANSWER) or not self.deposit.up:
            self.intake.count_from(self._bookmark.load())
        settled, rows = False, 1
        while not self._drained(settled, rows):
            settled = self.intake.is_drained
            rows = self._turn()
            self._turned_at = time.monotonic()
            if not rows:
                time.sleep(PACE)

    def _turn(self) -> int:
        try:
            return self.intake.turn()
        except Exception:
            # A failing disk, most likely. Frames stay where they are; what was read is counted and will not be again.
            log.exception("event=journal_not_read")
            time.sleep(1.0)
            return 0

    def _drained(self, settled: bool, rows: int) -> bool:
        """Whether to end: told to, and a turn found nothing new although all before it was in the ledger."""
        if not self._stopping.is_set():
            return False
        now = time.monotonic()
        patience = DRAIN if self.deposit.up else DRAIN_AWAY
        return now > self._deadline - DRAIN + patience or (settled and not rows)

    def _write(self) -> None:
        while not self._written():
            wait = self.deposit.turn(PACE if self._stopping.is_set() else 0.25)
            self._asked_at = time.monotonic()
            self._first_answer.set()
            if self._stopping.is_set():
                time.sleep(min(wait, PACE))
            elif wait:
                self._stopping.wait(wait)
        self.deposit.close()

    def _written(self) -> bool:
        if not self._stopping.is_set() or self._reader.is_alive():
            return False
        nothing_left = not len(self._pending) and not self.intake.done
        return nothing_left or time.monotonic() > self._deadline or not self.deposit.up


class _Server(uvicorn.Server):
    """uvicorn without its own handling of signals: here they mean drain first, while the port still answers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to `serve`."""
        yield


async def serve(recorder: Recorder, settings: Settings, listening: socket.socket) -> None:
    """Serves the admin port until SIGTERM or the end of standard input, then lets the recorder finish."""
    address = f"http://{settings.proxy.host}:{settings.proxy.port}"
    questions = routes(lambda: read_only(settings.store.url))
    token = settings.admin.token.get_secret_value()
    app = make_app(recorder, token=token, proxy_address=address, routes=questions)
    # h11, as it bounds a request's head; the proxy port has a parser of its own for that.
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    when_parent_is_gone(lambda: loop.call_soon_threadsafe(told.set))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await asyncio.wait((serving, waiting := asyncio.create_task(told.wait())), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await asyncio.to_thread(recorder.stop)
    server.should_exit = True
    await serving


def _version() -> str:
    try:
        return metadata.version("llm-weir")
    except metadata.PackageNotFoundError:
        return "unknown"


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(prog="python -m proxy.recorder", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--admin-fd", type=int, required=True, help="listening socket of the admin port")
    arguments = parser.parse_args()
    settings = settings_from_parent()
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    recorder = Recorder(settings)
    # Records in the queue are many and live long: the default thresholds look at them again and again (10 µs a record).
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    recorder.start()
    asyncio.run(serve(recorder, settings, socket.socket(fileno=arguments.admin_fd)))


if __name__ == "__main__":
    main()
