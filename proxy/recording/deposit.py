"""The writing thread: queue → ledger, in batches, until it works.

A store that is away stops nothing: the batch stays in the queue and is tried again, for ever, with growing waits. What
the ledger refuses for good goes to the dead letters. Batches are as large as what came while the last one was written.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import orjson

from proxy.metrics import Metrics
from proxy.recording.bookmark import Bookmark
from proxy.recording.intake import Intake
from proxy.recording.pending import Item, Pending
from store.engine import LedgerUnavailable
from store.journal import Gap, Position
from store.ledger import Committed, Ledger
from store.migrate import upgrade
from store.record import CallRecord

log = logging.getLogger(__name__)

BATCH = 1000
FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0
"""Seconds between two attempts; doubled each time, then jittered so that many recorders do not come at once."""
REOPEN = 10
"""Failures in a row after which the store is opened anew: it may be another one by now, without tables."""
IDLE_PING = 5.0
"""Seconds after which an idle store is asked whether it is still there."""
UPKEEP = 6 * 3600.0
"""Seconds between two looks at partitions and at rows that are past `store.keep_days`."""
UPKEEP_AGAIN = 600.0
DAY_US = 86_400 * 1_000_000
MAX_DEAD_BYTES = 64 << 20


class Store(Protocol):
    """What is needed of `store.ledger.Ledger`."""

    def insert(
        self,
        records: Sequence[CallRecord],
        *,
        positions: Mapping[str, Position] | None = None,
        lost: Sequence[tuple[str, Gap]] = (),
    ) -> Committed:
        """Commits a batch."""

    def positions(self) -> dict[str, Position]:
        """How far each journal is committed."""

    def close_boot(self, boot_id: str) -> None:
        """Forgets a journal that is gone."""

    def ensure_partitions(self, now: int) -> list[str]:
        """Makes room for the next months."""

    def prune(self, before: int) -> int:
        """Deletes old calls."""

    def ping(self) -> None:
        """Raises when it is away."""

    def dispose(self) -> None:
        """Closes its connections."""


def open_ledger(url: str) -> Store:
    """The migrated store. Raises whatever the database raises."""
    upgrade(url)
    return Ledger(url)


class DeadLetters:
    """Records that the ledger refused for good, one JSON object a line. They hold no content, as no record does."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, record: CallRecord, reason: str) -> None:
        """Appends one record. Past 64 MiB, or on a failing disk, only the log and the gap in the ledger remain."""
        call = record.call
        log.error("event=record_refused call=%s boot=%s seq=%d reason=%s", call.call_id, call.boot_id, call.seq, reason)
        try:
            with os.fdopen(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as file:
                if file.tell() < MAX_DEAD_BYTES:
                    file.write(orjson.dumps({"refused": reason, **record.row()}, default=str) + b"\n")
        except (OSError, TypeError) as error:
            log.error("event=dead_letter_not_written call=%s cause=%s", call.call_id, type(error).__name__)


class Deposit:
    """Takes batches from the queue to the ledger. `turn` is called by one thread."""

    def __init__(
        self,
        opened: Callable[[], Store],
        intake: Intake,
        pending: Pending,
        metrics: Metrics,
        *,
        keep_days: int,
        dead_letters: DeadLetters,
        bookmark: Bookmark,
    ) -> None:
        self.up = False
        """Whether the store took what it was last given."""
        self.attempts = 0
        """Failed attempts in a row."""
        self._open = opened
        self._store: Store | None = None
        self._intake = intake
        self._pending = pending
        self._metrics = metrics
        self._keep_days = keep_days
        self._dead_letters = dead_letters
        self._bookmark = bookmark
        self._places: dict[str, Position] = {}
        self._spoken_at = 0.0
        self._tend_at = 0.0

    def turn(self, timeout: float) -> float:
        """One batch, or a look after an idle store; the seconds to wait before the next turn."""
        try:
            self._work(self._opened(), timeout)
        except LedgerUnavailable as error:
            return self._failed(error)
        except Exception as error:
            self._close()
            log.debug("event=deposit_failed", exc_info=error)
            return self._failed(error)
        if not self.up:
            log.log(logging.WARNING if self.attempts else logging.INFO, "event=store_up attempts=%d", self.attempts)
        self.up, self.attempts = True, 0
        return 0.0

    def close(self) -> None:
        """Closes the store."""
        self._close()

    def _opened(self) -> Store:
        if self._store is None:
            store = self._open()
            places = store.positions()
            self._store = store
            self._places = self._intake.own(places)
            self._intake.record_from(places)
        return self._store

    def _work(self, store: Store, timeout: float) -> None:
        items = self._pending.batch(BATCH, timeout)
        now = time.monotonic()
        if items:
            self._commit(store, items)
        elif now - self._spoken_at >= IDLE_PING:
            store.ping()
        else:
            self._forget(store)
            return
        self._spoken_at = time.monotonic()
        if now >= self._tend_at:
            self._tend(store)

    def _commit(self, store: Store, items: Sequence[Item]) -> None:
        begun = time.monotonic()
        positions = {item.boot_id: item.position for item in items}
        records = [item.record for item in items if item.record is not None]
        lost = [(item.boot_id, item.gap) for item in items if item.gap is not None]
        done = store.insert(records, positions=positions, lost=lost)
        self._metrics.flushed(time.monotonic() - begun)
        self._metrics.committed(len(done.inserted) + len(done.duplicates), written=len(done.inserted))
        if done.refused:
            self._metrics.refused(len(done.refused))
            for record, reason in done.refused:
                self._dead_letters.add(record, reason)
        self._settle(items, positions)

    def _settle(self, items: Sequence[Item], positions: Mapping[str, Position]) -> None:
        self._pending.settle(len(items))
        counts = dict.fromkeys(positions, 0)
        for item in items:
            counts[item.boot_id] += 1
        for boot_id, position in positions.items():
            self._intake.settle(boot_id, position, counts[boot_id])
        self._places |= positions
        self._bookmark.save(self._places)

    def _forget(self, store: Store) -> None:
        while self._intake.done:
            boot_id = self._intake.done[0]
            store.close_boot(boot_id)
            self._places.pop(boot_id, None)
            self._intake.done.popleft()

    def _tend(self, store: Store) -> None:
        """Partitions and old rows. Whatever fails here is tried again later and holds up no record."""
        now = time.time_ns() // 1000
        self._tend_at = time.monotonic() + UPKEEP
        try:
            for name in store.ensure_partitions(now):
                log.info("event=partition_made name=%s", name)
            gone = store.prune(now - self._keep_days * DAY_US)
        except LedgerUnavailable as error:
            self._tend_at = time.monotonic() + UPKEEP_AGAIN
            log.warning("event=upkeep_failed cause=%s", type(error.__cause__ or error).__name__)
        else:
            log.info("event=upkeep_done calls_pruned=%d", gone)

    def _failed(self, error: Exception) -> float:
        # Types, not texts: a driver's message may quote the row, or the address with its password.
        if self.up or self.attempts % 10 == 0:
            cause = error.__cause__ or error
            log.warning("event=store_away cause=%s attempts=%d", type(cause).__name__, self.attempts)
        self.up = False
        longest = min(LONGEST_WAIT, FIRST_WAIT * (1 << min(self.attempts, 10)))
        self.attempts += 1
        if self.attempts % REOPEN == 0:
            self._close()
        return longest * random.uniform(0.5, 1.0)

    def _close(self) -> None:
        if self._store is not None:
            self._store.dispose()
            self._store = None
