"""Usage by anything, over any span, against a plain reading of the same records."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from store.ledger import Ledger
from store.query import GROUPS, Span, UsageRow, counts, totals, unpriced_models, usage
from store.record import CallRecord
from tests.store.conftest import HOUR, START, Make, Seed

NAMES = st.lists(st.sampled_from([name for name in GROUPS if name not in ("day", "hour")]), max_size=3, unique=True)


def plainly(records: list[CallRecord], span: Span, by: list[str]) -> Counter[tuple[Any, ...]]:
    """Calls, input tokens and cost per group, slowly."""
    found: Counter[tuple[Any, ...]] = Counter()
    for record in records:
        if not (span.since or 0) <= record.call.started_at < (span.until or 10**18):
            continue
        row = record.row()
        if row["session_source"] == "none":
            row["session_id"] = None  # its own call id, which names no session
        key = tuple(row[GROUPS[name]] or None for name in by)
        found[(*key, "calls")] += 1
        found[(*key, "tokens")] += record.reading.input_tokens or 0
        found[(*key, "cost")] += record.cost.cost_nusd or 0
    return found


def flat(rows: list[UsageRow], by: list[str]) -> Counter[tuple[Any, ...]]:
    found: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        key = tuple(getattr(row, GROUPS[name]) for name in by)
        found[(*key, "calls")] += row.calls
        found[(*key, "tokens")] += row.input_tokens
        found[(*key, "cost")] += row.cost_nusd
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    by=NAMES,
    since=st.none() | st.integers(START - HOUR, START + 31 * HOUR),
    until=st.none() | st.integers(START - HOUR, START + 31 * HOUR),
)
def test_any_span_and_grouping_is_exact(
    both: tuple[Ledger, Ledger], seed: Seed, by: list[str], since: int | None, until: int | None
) -> None:
    records = seed(120)
    span = Span(since, until)
    answers = []
    for ledger in both:
        ledger.insert(records)
        with ledger.engine.connect() as connection:
            answers.append(usage(connection, span, by=by))
    assert answers[0] == answers[1]
    assert +flat(answers[0], by) == +plainly(records, span, by)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland"])
def test_days_are_days_of_the_zone(ledger: Ledger, seed: Seed, zone: str) -> None:
    records = seed(150, spread=100 * HOUR)
    ledger.insert(records)
    expected = Counter(
        datetime.fromtimestamp(record.call.started_at // 10**6, ZoneInfo(zone)).date().isoformat() for record in records
    )
    with ledger.engine.connect() as connection:
        rows = usage(connection, by=("day",), tz=zone)
        by_user = usage(connection, by=("day", "user"), tz=zone)
    assert {row.day: row.calls for row in rows} == expected
    assert [row.day for row in rows] == sorted(expected)
    assert sum(row.calls for row in by_user) == 150


def test_hours_come_in_order(ledger: Ledger, seed: Seed) -> None:
    records = seed(60)
    ledger.insert(records)
    with ledger.engine.connect() as connection:
        rows = usage(connection, by=("hour",))
    expected = Counter(record.call.started_at - record.call.started_at % HOUR for record in records)
    assert [(row.hour, row.calls) for row in rows] == sorted(expected.items())


def test_the_dearest_comes_first_and_names_that_are_empty_are_none(ledger: Ledger, make: Make) -> None:
    priced = {"cost_source": "override", "usage_source": "provider", "input_tokens": 1}
    ledger.insert([make(project="a", cost_nusd=1, **priced), make(cost_nusd=5, **priced), make(project="b", **priced)])
    with ledger.engine.connect() as connection:
        rows = usage(connection, by=("project",))
    assert [(row.project, row.cost_nusd, row.unpriced) for row in rows] == [(None, 5, 0), ("a", 1, 0), ("b", 0, 1)]


def test_usage_can_be_narrowed(ledger: Ledger, seed: Seed) -> None:
    records = seed(100)
    ledger.insert(records)
    with ledger.engine.connect() as connection:
        for where in ({"project": "search"}, {"project": "search", "user_id": "u1"}, {"project": ""}):
            expected = sum(all(record.row()[name] == value for name, value in where.items()) for record in records)
            assert totals(connection, where=where).calls == expected > 0


@pytest.mark.parametrize("wrong", [{"by": ("colour",)}, {"where": {"colour": "red"}}])
def test_unknown_names_are_refused_by_name(ledger: Ledger, wrong: dict[str, Any]) -> None:
    with ledger.engine.connect() as connection, pytest.raises(ValueError, match=r"colour.*known: .*project"):
        usage(connection, **wrong)


def test_a_ragged_start_that_was_pruned_is_the_whole_hour(ledger: Ledger, make: Make) -> None:
    hour = START - START % HOUR
    ledger.insert([make(started_at=hour + n) for n in (1, 2, 3)])
    ledger.prune(hour + 60 * 24 * HOUR)
    with ledger.engine.connect() as connection:
        assert totals(connection, Span(hour + 2, None)).calls == 3


def test_an_empty_ledger_has_no_usage(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        assert usage(connection, by=("model",)) == []
        assert usage(connection, by=("session",)) == []
        assert totals(connection, Span(START + 1, START + 2)) == UsageRow()
        assert counts(connection).first_call_at is None


def test_counts(ledger: Ledger, seed: Seed) -> None:
    records = seed(80)
    ledger.insert(records)
    times = [record.call.started_at for record in records]
    with ledger.engine.connect() as connection:
        found = counts(connection)
    assert (found.calls, found.summed_calls) == (80, 80)
    assert (found.first_call_at, found.last_call_at, found.kept_from) == (min(times), max(times), None)


def test_unpriced_models_are_named_with_their_upstream(ledger: Ledger, make: Make) -> None:
    unpriced = {"input_tokens": 3, "request_model": "new", "provider": "p"}
    ledger.insert([make(upstream="a", **unpriced), make(upstream="b", **unpriced), make(upstream="b", **unpriced)])
    hour = START - START % HOUR
    with ledger.engine.connect() as connection:
        rows = unpriced_models(connection)
        assert unpriced_models(connection, Span(hour + HOUR, None)) == []
    assert [(row.upstream, row.model, row.unpriced, row.calls) for row in rows] == [
        ("b", "new", 2, 2),
        ("a", "new", 1, 1),
    ]
    assert rows[0].first_hour == rows[0].last_hour == hour
