"""Calls one by one, page by page, as they come, and all of them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from store.engine import read_only
from store.ledger import Ledger
from store.query import CallRow, Span, Tail, call, calls, records
from tests.store.conftest import HOUR, START, Make, Seed

SECOND = 1_000_000


def test_the_last_calls_come_newest_first(ledger: Ledger, seed: Seed) -> None:
    given = seed(50)
    ledger.insert(given)
    newest = sorted(given, key=lambda record: (record.call.started_at, record.call.call_id), reverse=True)
    with ledger.engine.connect() as connection:
        assert calls(connection, limit=7) == [CallRow.of(record) for record in newest[:7]]
        assert calls(connection, limit=99, failed=True) == [CallRow.of(record) for record in newest if record.failed]


def test_pages_follow_each_other_without_overlap_or_hole(ledger: Ledger, make: Make) -> None:
    ledger.insert([make(started_at=START + n // 4) for n in range(40)])
    with ledger.engine.connect() as connection:
        everything = calls(connection, limit=99)
        found: list[CallRow] = []
        while page := calls(connection, limit=7, before=found[-1].cursor if found else None):
            found += page
        assert found == everything
        forward = calls(connection, limit=99, after=everything[-1].cursor)
        assert forward == everything[-2::-1]


def test_calls_can_be_narrowed(ledger: Ledger, seed: Seed) -> None:
    given = seed(80)
    ledger.insert(given)
    span = Span(START + 5 * HOUR, START + 20 * HOUR)
    with ledger.engine.connect() as connection:
        found = calls(connection, span, limit=99, where={"session_id": "s-1", "outcome": "ok"})
    assert {row.call_id for row in found} == {
        record.call.call_id
        for record in given
        if record.call.session_id == "s-1"
        and record.reading.outcome == "ok"
        and START + 5 * HOUR <= record.call.started_at < START + 20 * HOUR
    }


def test_one_call_is_found_by_its_id_however_written(ledger: Ledger, make: Make) -> None:
    record = make()
    ledger.insert([record])
    with ledger.engine.connect() as connection:
        assert call(connection, record.call.call_id.upper()) == record
        assert call(connection, "01890a5d-ac96-774b-bcce-b302099a8057") is None
        for nonsense in ("", "x", "'; DROP TABLE calls; --"):
            assert call(connection, nonsense) is None


def test_one_call_is_found_through_an_index(ledger: Ledger, seed: Seed) -> None:
    ledger.insert(seed(300))
    query = "EXPLAIN SELECT * FROM calls WHERE call_id = '01890a5d-ac96-774b-bcce-b302099a8057'"
    if ledger.engine.dialect.name == "sqlite":
        query = query.replace("EXPLAIN", "EXPLAIN QUERY PLAN")
    with ledger.engine.begin() as connection:
        if ledger.engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(query))
    assert "call_id" in plan
    assert "SCAN calls" not in plan
    assert "Seq Scan" not in plan


def test_all_calls_can_be_read_in_order(ledger: Ledger, store_url: str, seed: Seed) -> None:
    given = seed(120)
    ledger.insert(given)
    with read_only(store_url) as connection:
        found = list(records(connection))
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    assert sorted(found, key=lambda r: r.call.seq) == given
    assert all(a.call.started_at <= b.call.started_at for a, b in pairwise(found))


def test_a_tail_shows_each_call_once_when_it_ends(ledger: Ledger, make: Make) -> None:
    now = START + 600 * SECOND
    tail = Tail()

    def come(at: int, *given: dict[str, int]) -> list[int]:
        ledger.insert([make(**fields) for fields in given])
        with ledger.engine.connect() as connection:
            return [row.started_at for row in tail.next(connection, at)]

    assert come(now, {"started_at": START, "duration_us": SECOND}) == []
    quick = {"started_at": now + SECOND, "duration_us": SECOND}
    long = {"started_at": now - 300 * SECOND, "duration_us": 302 * SECOND}
    assert come(now + 3 * SECOND, quick, long) == [now - 300 * SECOND, now + SECOND]
    assert come(now + 4 * SECOND) == []
    late = {"started_at": now, "duration_us": SECOND}
    assert come(now + 40 * SECOND, late) == [now]
    assert come(now + 41 * SECOND) == []


def test_a_tail_leaves_out_what_was_shown_and_what_does_not_match(ledger: Ledger, make: Make) -> None:
    given = [make(duration_us=1, project="a"), make(duration_us=1, project="b"), make(duration_us=1, project="a")]
    ledger.insert(given)
    with ledger.engine.connect() as connection:
        shown = [row for row in calls(connection) if row.call_id == given[0].call.call_id]
        tail = Tail(where={"project": "a"}, shown=shown)
        assert [row.call_id for row in tail.next(connection, START + 5 * SECOND)] == [given[2].call.call_id]
        assert Tail(failed=True).next(connection, START + 5 * SECOND) == []


def test_a_filter_that_is_no_column_is_refused(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection, pytest.raises(ValueError, match="path"):
        calls(connection, where={"path": "/"})
