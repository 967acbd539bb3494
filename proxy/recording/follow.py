"""One journal followed to its end: which frame is new, which one still has to become a row, which calls are open.

Three places in the file matter. Up to `baseline` an earlier recorder has committed: those frames only tell which calls
are open. Up to `seen` this process has counted: no frame is counted twice. Up to `queued` records are in the queue or
in the ledger. When the queue is full `queued` stays behind while `seen` goes on; a second reader then catches up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from store.journal import Entry, Gap, JournalReader, Kind, Position
from store.record import Call, Outcome, Reading, UsageSource

START = Position(0, 0)


@dataclass(slots=True)
class Open:
    """A call whose outcome has not been read."""

    call: Call
    reading: Reading | None = None
    """How far it had come, from the last PROGRESS frame."""


class Row(NamedTuple):
    """What one frame leaves to be recorded, and whether it is to be counted too."""

    call: Call | None
    reading: Reading | None
    gap: Gap | None
    position: Position
    fresh: bool
    """Whether it is to be counted: read for the first time, and by no earlier recorder."""


class Followed:
    """The recorder's side of one boot. Not thread-safe but for `committed` and `settled`, which the writer sets."""

    def __init__(self, reader: JournalReader, baseline: Position, queued: Position | None) -> None:
        self.reader = reader
        self.boot_id = reader.boot_id
        self.open: dict[int, Open] = {}
        self.behind = queued is None
        """Records between `queued` and `seen` are not in the queue."""
        self.committed = queued or START
        """Set by the writing thread: everything before this place is in the ledger."""
        self.put = 0
        """Items put into the queue."""
        self.settled = 0
        """Items that left it, set by the writing thread."""
        self._rear: JournalReader | None = None
        self._baseline = baseline
        self._seen = START
        self._queued = queued or START
        self._released = 0
        self._begun = False

    def read(self, limit: int, begun: Callable[[Call], None]) -> Iterator[Row]:
        """What the next frames leave to be counted or recorded. `begun` is told of each call not known before."""
        entries = self.reader.read(limit)
        for entry in entries:
            self._seen = entry.position
            if not self._begun and entry.position > self._baseline:
                self._announce(begun)
            self._note(entry, begun)
            if entry.kind in (Kind.OUTCOME, Kind.GAP):
                yield Row(entry.call, entry.reading, entry.gap, entry.position, entry.position > self._baseline)
            elif not self.behind:
                self.queue(entry.position)
        if not entries and not self._begun:
            self._announce(begun)

    def catch_up(self, limit: int) -> Iterator[Row]:
        """What the next frames between `queued` and `seen` leave to be recorded; they have been counted before."""
        if self._rear is None:
            self._rear = JournalReader(self.reader.directory)
        self._rear.seek(self._queued)
        entries = self._rear.read(limit)
        for entry in entries:
            if entry.position > self._seen:
                break
            if entry.kind in (Kind.OUTCOME, Kind.GAP):
                yield Row(entry.call, entry.reading, entry.gap, entry.position, False)
            self.queue(entry.position)
        if not entries or self._queued >= self._seen:
            self.behind = False
            self._rear.seek(START)  # in another segment, so that its file is closed

    def start_over(self, queued: Position) -> None:
        """The ledger has told how far it is; only now is it known what to catch up with."""
        self._queued = self.committed = queued

    def wanted(self, position: Position) -> bool:
        """Whether a record that was just read still has to be queued, and may be."""
        return not self.behind and position > self._queued

    def queue(self, position: Position) -> None:
        """Notes that everything up to this place is in the queue."""
        self._queued = max(self._queued, position)

    def release(self) -> None:
        """Deletes the segments that are wholly in the ledger."""
        if self.committed.segment > self._released:
            self.reader.release(self.committed)
            self._released = self.committed.segment

    def is_new(self, grace: float) -> bool:
        """Whether the journal may be one that is only about to begin: nothing in it, and made just now."""
        return self._seen == START and time.time() - self.reader.directory.stat().st_mtime < grace

    def interrupted(self) -> Iterator[tuple[Call, Reading, Position]]:
        """The calls that their worker can no longer end. Each is closed once the next is asked for."""
        for seq in list(self.open):
            left = self.open[seq]
            yield left.call, interrupted_reading(left.reading), self._seen
            del self.open[seq]

    @property
    def is_settled(self) -> bool:
        """Everything that was queued is in the ledger and nothing is left to read again."""
        return not self.behind and self.settled == self.put

    def close(self, seq: int) -> Open | None:
        """The open call of this number, which is open no more."""
        return self.open.pop(seq, None)

    def _announce(self, begun: Callable[[Call], None]) -> None:
        self._begun = True
        for one in self.open.values():
            begun(one.call)

    def _note(self, entry: Entry, begun: Callable[[Call], None]) -> None:
        """Keeps `open` as of this frame. A segment repeats the intents still open, so one may come twice."""
        if entry.call is None:
            return
        seq = entry.call.seq
        if entry.kind in (Kind.INTENT, Kind.PROGRESS):
            if seq not in self.open:
                self.open[seq] = Open(entry.call)
                if self._begun:
                    begun(entry.call)
            if entry.kind is Kind.PROGRESS:
                self.open[seq].reading = entry.reading
        elif entry.kind is Kind.OUTCOME and entry.position <= self._baseline:
            self.open.pop(seq, None)


def interrupted_reading(progress: Reading | None) -> Reading:
    """The reading of a call whose worker is gone: what the last PROGRESS frame knew, and how long is not known."""
    if progress is None:
        return Reading(outcome=Outcome.INTERRUPTED)
    source = progress.usage_source
    if source == UsageSource.PROVIDER:
        source = UsageSource.PARTIAL
    return replace(progress, outcome=Outcome.INTERRUPTED, usage_source=source, duration_us=None)
