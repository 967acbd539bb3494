"""Sums made again from rows are the sums that were there."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from store.ledger import Ledger
from store.rebuild import rebuild_rollups
from store.schema import latency_hourly, sessions, usage_hourly
from store.verify import verify
from tests.store.conftest import HOUR, START, Make, Seed


def sums(ledger: Ledger) -> list[list[tuple[Any, ...]]]:
    with ledger.engine.connect() as connection:
        tables = (sessions, usage_hourly, latency_hourly)
        return [[tuple(row) for row in connection.execute(sa.select(t).order_by(*t.primary_key))] for t in tables]


def wreck(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE usage_hourly SET calls = calls + 1, cost_nusd = 0")
        connection.exec_driver_sql("DELETE FROM latency_hourly WHERE metric = 'ttft'")
        connection.exec_driver_sql("DELETE FROM sessions WHERE session_id = 's-1'")
        connection.exec_driver_sql("UPDATE sessions SET session_id = 'ghost' WHERE session_id = 's-2'")


def test_a_wrecked_ledger_is_made_whole(ledger: Ledger, seed: Seed) -> None:
    ledger.insert(seed(200))
    before = sums(ledger)
    wreck(ledger)
    done = rebuild_rollups(ledger.engine)
    assert sums(ledger) == before
    assert (done.hours, done.sessions) == (len({row[0] for row in before[1]}), len(before[0]))
    with ledger.engine.connect() as connection:
        assert verify(connection).balanced


def test_a_healthy_ledger_stays_as_it_is(ledger: Ledger, seed: Seed) -> None:
    ledger.insert(seed(100))
    before = sums(ledger)
    rebuild_rollups(ledger.engine)
    assert sums(ledger) == before


def test_an_empty_ledger_has_nothing_to_rebuild(ledger: Ledger) -> None:
    assert rebuild_rollups(ledger.engine).hours == 0


def test_hours_before_since_are_left_alone(ledger: Ledger, seed: Seed) -> None:
    ledger.insert(seed(200))
    before = sums(ledger)
    wreck(ledger)
    since = START + 10 * HOUR
    floor = since - since % HOUR
    rebuild_rollups(ledger.engine, since)
    for was, now in zip(before[1:], sums(ledger)[1:], strict=True):
        assert [row for row in now if row[0] >= floor] == [row for row in was if row[0] >= floor]
        assert [row for row in now if row[0] < floor] != [row for row in was if row[0] < floor]


def test_what_pruning_has_touched_keeps_its_sums(ledger: Ledger, make: Make, seed: Seed) -> None:
    long = {"session_id": "long", "session_source": "header"}
    ledger.insert([make(started_at=START - 4000 * HOUR, **long), make(started_at=START, **long), *seed(50)])
    before = sums(ledger)
    ledger.prune(START - 3000 * HOUR)
    rebuild_rollups(ledger.engine)
    assert sums(ledger) == before
