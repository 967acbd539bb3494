"""The reading thread: journals → price → metrics → queue. It never waits for the store.

A frame is counted once in a process life, however often it is read for the queue. All files are touched here and only
here: reading, forcing to disk, deleting what is committed, and closing the books of a worker that is gone.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from proxy.metrics import Metrics
from proxy.pricing import Pricer
from proxy.recording.follow import START, Followed, Row
from proxy.recording.pending import Item, Pending
from proxy.recording.sessions import ActiveSessions
from store.journal import Gap, JournalReader, Position, boots, total_bytes
from store.record import Call, CallRecord, Reading

log = logging.getLogger(__name__)

READ_LIMIT = 1000
"""Frames of one journal before the next has its turn."""
GRACE = 5.0
"""Seconds that a journal without a writer is left alone if nothing was ever read from it: it may be about to begin."""
SURVEY_SECONDS = 1.0


class Intake:
    """Follows every journal below one folder. One thread calls `turn`; what others may call says so."""

    def __init__(self, root: Path, pricer: Pricer, metrics: Metrics, pending: Pending, *, sync_every: float) -> None:
        self.active_sessions = 0
        self.journal_bytes = 0
        self.workers = 0
        """Journals that somebody writes."""
        self.done: deque[str] = deque()
        """Boots whose journal is gone, for the writing thread to forget."""
        self._sessions = ActiveSessions()
        self._root = root
        self._pricer = pricer
        self._metrics = metrics
        self._pending = pending
        self._sync_every = sync_every
        self._followed: dict[str, Followed] = {}
        self._baseline: Mapping[str, Position] = {}
        self._committed: Mapping[str, Position] | None = None
        self._recording = False
        self._damaged = 0
        self._synced_at = self._surveyed_at = 0.0
        self._unsynced: set[str] = set()

    def count_from(self, baseline: Mapping[str, Position]) -> None:
        """The places up to which an earlier recorder counted and committed. Before the first turn."""
        self._baseline = baseline

    def record_from(self, committed: Mapping[str, Position]) -> None:
        """The ledger has told how far it is: from now on records are queued. From any thread, once."""
        self._committed = committed

    def own(self, places: Mapping[str, Position]) -> dict[str, Position]:
        """The places of journals that are here: a store may serve several machines. From any thread."""
        here = set(boots(self._root))
        return {boot_id: place for boot_id, place in places.items() if boot_id in here}

    def turn(self) -> int:
        """One round over all journals; 0 when there was nothing new in any of them."""
        self._discover()
        found = workers = 0
        for followed in list(self._followed.values()):
            alive = followed.reader.writer_alive()
            workers += alive
            found += self._follow(followed, alive=alive)
        self.workers = workers
        self._sync()
        self._survey()
        return found

    def settle(self, boot_id: str, position: Position, count: int) -> None:
        """`count` items of this boot, the last at `position`, are committed. From the writing thread."""
        followed = self._followed[boot_id]
        followed.committed = max(followed.committed, position)
        followed.settled += count

    @property
    def is_drained(self) -> bool:
        """Everything that was read is in the ledger. From any thread."""
        return all(followed.is_settled for followed in list(self._followed.values()))

    @property
    def journal_damage(self) -> int:
        """Damaged runs of bytes met so far. From any thread."""
        return self._damaged + sum(one.reader.damaged for one in list(self._followed.values()))

    def _discover(self) -> None:
        for boot_id in boots(self._root):
            if boot_id not in self._followed:
                self._followed[boot_id] = self._begin(JournalReader(self._root / boot_id))
        if self._committed is not None and not self._recording:
            self._recording = True
            for followed in self._followed.values():
                if followed.behind:
                    followed.start_over(self._committed.get(followed.boot_id, START))

    def _begin(self, reader: JournalReader) -> Followed:
        if self._committed is None:
            return Followed(reader, self._baseline.get(reader.boot_id, START), None)
        committed = self._committed.get(reader.boot_id, START)
        return Followed(reader, committed, committed)

    def _follow(self, followed: Followed, *, alive: bool) -> int:
        before = followed.reader.position
        rows = 0
        for row in followed.read(READ_LIMIT, self._begun):
            self._take(followed, row)
            rows += 1
        if followed.behind:
            rows += self._catch_up(followed)
        elif followed.reader.position == before and not alive:
            rows += self._finish(followed)
        advanced = followed.reader.position != before
        if advanced:
            self._unsynced.add(followed.boot_id)
        followed.release()
        return rows + advanced

    def _catch_up(self, followed: Followed) -> int:
        room = self._pending.capacity - len(self._pending)
        if not self._recording or room < READ_LIMIT:
            return 0
        rows = 0
        for row in followed.catch_up(READ_LIMIT):
            self._queue(followed, row.position, self._record(row), row.gap)
            rows += 1
        return rows

    def _begun(self, call: Call) -> None:
        self._metrics.begun(call.provider)

    def _take(self, followed: Followed, row: Row) -> None:
        wanted = followed.wanted(row.position)
        if not wanted and not row.fresh:
            return
        record = self._record(row)
        if row.fresh and record is not None:
            self._count(followed, record)
        elif row.fresh and row.gap is not None:
            self._count_gap(followed, row.gap)
        if wanted:
            self._queue(followed, row.position, record, row.gap)

    def _record(self, row: Row) -> CallRecord | None:
        if row.call is None or row.reading is None:
            return None
        return self._priced(row.call, row.reading)

    def _priced(self, call: Call, reading: Reading) -> CallRecord:
        return CallRecord(call, reading, self._pricer.price(call, reading))

    def _count(self, followed: Followed, record: CallRecord) -> None:
        call = record.call
        self._metrics.observe(record, begun=followed.close(call.seq) is not None)
        if call.session_source != "none":
            self._sessions.touch(call.session_id, call.started_at + (record.reading.duration_us or 0))

    def _count_gap(self, followed: Followed, gap: Gap) -> None:
        log.warning("event=records_lost boot=%s from=%d to=%d reason=%s", followed.boot_id, *gap)
        for seq in range(gap.seq_from, gap.seq_to + 1):
            left = followed.close(seq)
            self._metrics.lost(gap.reason, left.call.provider if left else None)

    def _queue(self, followed: Followed, position: Position, record: CallRecord | None, gap: Gap | None) -> None:
        if self._pending.put(Item(followed.boot_id, position, record, gap, time.monotonic())):
            followed.put += 1
            followed.queue(position)
        else:
            followed.behind = True

    def _finish(self, followed: Followed) -> int:
        """The end of a journal whose writer is gone and that is read to its end."""
        if followed.behind or not self._recording or followed.is_new(GRACE):
            return 0
        rows = 0
        for call, reading, position in followed.interrupted():
            if len(self._pending) >= self._pending.capacity:
                return rows
            record = self._priced(call, reading)
            self._queue(followed, position, record, None)
            self._metrics.observe(record, begun=True)
            rows += 1
        if rows:
            log.warning("event=calls_interrupted boot=%s calls=%d", followed.boot_id, rows)
        elif followed.is_settled:
            self._remove(followed)
        return rows

    def _remove(self, followed: Followed) -> None:
        self._damaged += followed.reader.damaged
        del self._followed[followed.boot_id]
        self._unsynced.discard(followed.boot_id)
        followed.reader.remove()
        self.done.append(followed.boot_id)
        log.info("event=journal_done boot=%s records=%d", followed.boot_id, followed.settled)

    def _sync(self) -> None:
        """Forces new frames to disk, in place of the workers: there, that wait would cost every stream."""
        now = time.monotonic()
        if not self._unsynced or now - self._synced_at < self._sync_every:
            return
        self._synced_at = now
        for boot_id in list(self._unsynced):
            self._followed[boot_id].reader.sync()
            self._unsynced.discard(boot_id)

    def _survey(self) -> None:
        now = time.monotonic()
        if now - self._surveyed_at >= SURVEY_SECONDS:
            self._surveyed_at = now
            self.journal_bytes = total_bytes(self._root)
            self.active_sessions = self._sessions.count(time.time_ns() // 1000)
