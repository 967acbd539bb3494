"""The queue between the two threads: bounded, ordered, and nothing leaves it before it is settled."""

from __future__ import annotations

import threading
import time

from proxy.recording.pending import Item, Pending
from store.journal import Position


def item(number: int) -> Item:
    return Item("b", Position(1, number), None, None, float(number))


def test_items_stay_until_they_are_settled() -> None:
    pending = Pending()
    for number in range(5):
        assert pending.put(item(number))
    assert pending.batch(3, 0) == pending.batch(3, 0) == [item(0), item(1), item(2)]
    pending.settle(3)
    assert pending.batch(3, 0) == [item(3), item(4)]
    assert pending.oldest() == 3.0
    pending.settle(2)
    assert pending.oldest() is None


def test_a_full_queue_refuses_and_does_not_block() -> None:
    pending = Pending(capacity=2)
    assert [pending.put(item(number)) for number in range(3)] == [True, True, False]
    assert len(pending) == 2


def test_a_waiting_writer_wakes_at_once() -> None:
    pending = Pending()
    threading.Timer(0.05, lambda: pending.put(item(1))).start()
    begun = time.monotonic()
    assert pending.batch(10, 5.0) == [item(1)]
    assert time.monotonic() - begun < 1.0
    assert Pending().batch(10, 0.01) == []
