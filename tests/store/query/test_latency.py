"""Percentiles from buckets: near the exact ones, and those of the view."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from store.ledger import Ledger
from store.query import Span, latency
from store.query.latency import percentile
from store.rollups import bucket_of
from tests.store.conftest import HOUR, START, Make, Seed


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=200), st.sampled_from([50, 95, 99]))
def test_a_percentile_is_within_a_bucket_of_the_exact_one(values: list[int], percent: int) -> None:
    buckets: dict[int, int] = {}
    for value in values:
        buckets[bucket_of(value)] = buckets.get(bucket_of(value), 0) + 1
    exact = sorted(values)[-(-len(values) * percent // 100) - 1]
    assert percentile(sorted(buckets.items()), percent) * 1e3 == pytest.approx(exact, rel=0.0906)


def test_no_calls_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no calls"):
        percentile([], 50)


def test_it_says_what_the_view_says(ledger: Ledger, seed: Seed) -> None:
    ledger.insert(seed(300))
    query = "SELECT provider, model, metric, calls, p50_ms, p95_ms, p99_ms FROM model_latency"
    with ledger.engine.connect() as connection:
        view = [tuple(row) for row in connection.exec_driver_sql(query)]
        rows = latency(connection, by=("provider", "model"))
    asked = [(r.provider, r.model, r.metric, r.calls, r.p50_ms, r.p95_ms, r.p99_ms) for r in rows]
    assert sorted(asked, key=repr) == sorted(view, key=repr)
    assert len(view) > 10


def test_groups_merge(ledger: Ledger, make: Make) -> None:
    ledger.insert([make(provider=f"p{n % 3}", request_model="m", duration_us=1000 * (n + 1)) for n in range(30)])
    with ledger.engine.connect() as connection:
        (everything,) = latency(connection, by=())
        (by_model,) = latency(connection)
        (one,) = latency(connection, where={"provider": "p0"})
    assert (everything.calls, everything.model, by_model.model, by_model.calls) == (30, None, "m", 30)
    assert everything.p95_ms == by_model.p95_ms
    assert one.calls == 10


def test_a_span_counts_its_whole_first_hour(ledger: Ledger, make: Make) -> None:
    hour = START - START % HOUR
    ledger.insert([make(started_at=hour + n * HOUR, duration_us=5) for n in range(3)])
    with ledger.engine.connect() as connection:
        (row,) = latency(connection, Span(hour + HOUR + 5, hour + 2 * HOUR))
    assert row.calls == 1


def test_only_provider_and_model_can_be_asked_for(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection, pytest.raises(ValueError, match="project"):
        latency(connection, by=("project",))
