"""Group commit: calls that must not be forwarded before their intent is on disk wait here, all for one sync."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor

log = logging.getLogger(__name__)


class GroupCommit:
    """Runs `sync` in a thread, one at a time, for everyone who has asked since the last one began."""

    def __init__(self, sync: Callable[[], None], executor: Executor) -> None:
        self._sync = sync
        self._executor = executor
        self._waiting: list[Callable[[bool], None]] = []
        self._running = False

    def when_durable(self, then: Callable[[bool], None]) -> None:
        """Calls `then(True)` on the loop once what was written before this call is on disk, `then(False)` if not."""
        self._waiting.append(then)
        if not self._running:
            self._start()

    def _start(self) -> None:
        self._running = True
        ready, self._waiting = self._waiting, []
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._sync)
        future.add_done_callback(lambda done: self._finish(done, ready))

    def _finish(self, done: asyncio.Future[None], ready: list[Callable[[bool], None]]) -> None:
        self._running = False
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is not None:
            log.error("journal could not be synced to disk error=%s", type(error).__name__)
        loop = asyncio.get_running_loop()
        for then in ready:
            loop.call_soon(then, error is None)  # one that raises must not keep the others from going on
        if self._waiting:
            self._start()
