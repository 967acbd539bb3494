"""What has been read from journals and is not in the ledger yet: a bounded queue between two threads.

The reading thread puts, the writing thread takes a batch, and removes it only once it is committed. When it is full,
nothing blocks: the reader lets go of the record, goes on measuring, and reads it again later.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from threading import Condition
from typing import NamedTuple

from store.journal import Gap, Position
from store.record import CallRecord


class Item(NamedTuple):
    """One row to be: a record, or a gap, with the place in its journal after which nothing of it is needed."""

    boot_id: str
    position: Position
    record: CallRecord | None
    gap: Gap | None
    read_at: float
    """Monotonic seconds."""


class Pending:
    """The queue. One thread puts, one takes."""

    def __init__(self, capacity: int = 10_000) -> None:
        self.capacity = capacity
        self._items: deque[Item] = deque()
        self._changed = Condition()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> bool:
        """Adds an item; False, without it, when the queue is full."""
        with self._changed:
            if len(self._items) >= self.capacity:
                return False
            self._items.append(item)
            self._changed.notify()
        return True

    def batch(self, limit: int, timeout: float) -> list[Item]:
        """The oldest items, which stay until `settle`; waits up to `timeout` seconds for one."""
        with self._changed:
            if not self._items:
                self._changed.wait(timeout)
            return list(islice(self._items, limit))

    def settle(self, count: int) -> None:
        """Removes the oldest `count` items: they are in the ledger, or refused for good."""
        with self._changed:
            for _ in range(count):
                self._items.popleft()

    def oldest(self) -> float | None:
        """When the oldest item was read; None when there is none."""
        with self._changed:
            return self._items[0].read_at if self._items else None
