"""Months ahead, months gone: partitions on PostgreSQL, steps on SQLite, and books that still balance."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from store import partitions
from store.ledger import Ledger
from store.query import counts, totals
from store.schema import calls
from store.verify import verify
from tests.store.conftest import HOUR, START, Make, Seed

DAY = 24 * HOUR
DECEMBER = 1_797_000_000_000_000
"""2026-12-11."""


def partition_of(ledger: Ledger, record_seq: int) -> str:
    query = "SELECT tableoid::regclass::text FROM calls WHERE seq = %s"
    with ledger.engine.connect() as connection:
        return str(connection.exec_driver_sql(query, (record_seq,)).scalar_one())


@pytest.fixture
def server(postgres_url: str) -> Ledger:
    """A ledger on PostgreSQL without a month yet."""
    from store.migrate import upgrade

    upgrade(postgres_url)
    return Ledger(postgres_url)


def test_this_month_and_three_more_are_made_once(server: Ledger) -> None:
    made = server.ensure_partitions(START)
    assert made == ["calls_p202609", "calls_p202610", "calls_p202611", "calls_p202612"]
    assert server.ensure_partitions(START) == []
    assert server.ensure_partitions(DECEMBER) == ["calls_p202701", "calls_p202702", "calls_p202703"]
    server.dispose()


def test_sqlite_has_none(ledger: Ledger) -> None:
    expected = [] if ledger.engine.dialect.name == "sqlite" else ["calls_p202701", "calls_p202702", "calls_p202703"]
    assert ledger.ensure_partitions(DECEMBER) == expected


def test_calls_of_no_month_wait_and_move_when_it_is_made(server: Ledger, make: Make) -> None:
    server.ensure_partitions(START)
    ahead, now = make(started_at=1_798_761_600_000_000), make(started_at=START)
    server.insert([ahead, now])
    assert [partition_of(server, 1), partition_of(server, 2)] == ["calls_default", "calls_p202609"]
    assert "calls_p202701" in server.ensure_partitions(DECEMBER)
    assert partition_of(server, 1) == "calls_p202701"
    assert server.insert([ahead]).duplicates == [ahead]
    with server.engine.connect() as connection:
        assert verify(connection).balanced
    server.dispose()


def test_a_month_ends_where_the_next_begins(server: Ledger, make: Make) -> None:
    server.ensure_partitions(START)
    first = 1_790_812_800_000_000  # 2026-10-01 00:00 UTC
    server.insert([make(started_at=first - 1), make(started_at=first)])
    assert [partition_of(server, 1), partition_of(server, 2)] == ["calls_p202609", "calls_p202610"]
    server.dispose()


def test_pruning_takes_calls_and_leaves_sums(ledger: Ledger, make: Make, seed: Seed) -> None:
    old = [make(started_at=START - 200 * DAY + n, cost_nusd=5, cost_source="override") for n in range(20)]
    recent = seed(50)
    ledger.insert([*old, *recent])
    with ledger.engine.connect() as connection:
        before = totals(connection)
    assert ledger.prune(START - 90 * DAY) == 20
    assert ledger.prune(START - 90 * DAY) == 0
    with ledger.engine.connect() as connection:
        assert totals(connection) == before
        found = counts(connection)
        assert (found.calls, found.summed_calls) == (50, 70)
        assert found.kept_from is not None
        report = verify(connection)
        assert report.findings == []
        assert report.noted == {"pruned": 20}


def test_pruning_keeps_everything_after_the_edge(ledger: Ledger, make: Make) -> None:
    edge = START - 90 * DAY
    kept = make(started_at=edge)
    ledger.insert([make(started_at=edge - 40 * DAY), kept])
    ledger.prune(edge)
    with ledger.engine.connect() as connection:
        assert connection.scalars(sa.select(calls.c.call_id)).all() == [kept.call.call_id]


def test_a_session_cut_by_pruning_keeps_its_sums(ledger: Ledger, make: Make) -> None:
    named = {"session_id": "long", "session_source": "header"}
    ledger.insert([make(started_at=START - 200 * DAY, **named), make(started_at=START, **named)])
    ledger.prune(START - 90 * DAY)
    with ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT calls FROM session_summary").scalars().all() == [2]
        assert verify(connection).balanced


def test_old_months_are_dropped_whole(server: Ledger, make: Make) -> None:
    server.ensure_partitions(START - 120 * DAY)
    server.insert([make(started_at=START - 120 * DAY), make(started_at=START)])
    assert server.prune(START) == 1
    with server.engine.connect() as connection:
        assert sorted(partitions._existing(connection)) == ["calls_p202609"] or "calls_p202605" not in (
            partitions._existing(connection)
        )
    server.dispose()


def test_many_rows_go_in_steps(ledger: Ledger, seed: Seed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "STEP", 7)
    ledger.insert(seed(50, spread=HOUR))
    assert ledger.prune(START + 60 * DAY) == 50
