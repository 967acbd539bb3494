"""The fold that makes sums of rows, against a plain reading of the same rows."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, strategies as st

from store.clean import rows_of
from store.ledger import Ledger
from store.record import CallRecord
from store.rollups import METRICS, bucket_middle, bucket_of, call_sums, fold, pick
from store.schema import SUMS, calls
from tests.store.conftest import HOUR, Make, Seed


@given(st.integers(1, 10**15))
def test_a_bucket_holds_what_it_says(value: int) -> None:
    bucket = bucket_of(value)
    assert 2**bucket <= value**4 < 2 ** (bucket + 1)
    assert abs(bucket_middle(bucket) / value - 1) < 0.091


@pytest.mark.parametrize(("value", "bucket"), [(-5, 0), (0, 0), (1, 0), (2, 4), (3, 6), (4, 8), (1_000_000, 79)])
def test_buckets_of_known_values(value: int, bucket: int) -> None:
    assert bucket_of(value) == bucket


def test_the_middle_of_a_bucket_is_its_geometric_middle() -> None:
    assert [bucket_middle(b) for b in range(120)] == pytest.approx(
        [2 ** ((b + 0.5) / 4) for b in range(120)], rel=1e-15
    )


def sums_of(records: list[CallRecord]) -> tuple[int, ...]:
    """Slowly and plainly what `SUMS` are."""
    found: Counter[str] = Counter()
    for record in records:
        reading, cost = record.reading, record.cost.cost_nusd
        counted = reading.input_tokens is not None or reading.output_tokens is not None
        answered = reading.outcome not in ("upstream_error", "upstream_unreachable", "rejected")
        found["calls"] += 1
        found["errors"] += record.failed
        found["unpriced"] += counted and cost is None
        found["unmeasured"] += answered and not counted and record.call.operation != ""
        found["estimated"] += reading.usage_source == "estimated"
        found["cost_nusd"] += cost or 0
        for name in SUMS[5:]:
            if name != "cost_nusd":
                found[name] += getattr(reading, name) or 0
    return tuple(found[name] for name in SUMS)


def grouped(records: list[CallRecord], key: Any) -> dict[Any, list[CallRecord]]:
    found: dict[Any, list[CallRecord]] = {}
    for record in records:
        found.setdefault(key(record), []).append(record)
    return found


def hour_key(record: CallRecord) -> tuple[Any, ...]:
    call = record.call
    return call.started_at - call.started_at % HOUR, call.project, call.upstream, call.provider, record.model


def test_usage_is_the_sum_of_its_calls(seed: Seed) -> None:
    records = seed(300)
    usage = fold(map(pick, rows_of(records))).usage
    assert {row[:5]: row[5:] for row in usage} == {k: sums_of(v) for k, v in grouped(records, hour_key).items()}
    assert usage == sorted(usage)


def test_sessions_are_the_calls_that_something_assigned_to_one(seed: Seed) -> None:
    records = [record for record in seed(300) if record.call.session_source != "none"]
    found = fold(map(pick, rows_of(seed(300, boot_id="c" * 32)))).sessions
    expected = grouped(records, lambda record: (record.call.session_id, record.call.project))
    assert {row[:2]: row[4:] for row in found} == {key: sums_of(group) for key, group in expected.items()}
    times = {key: [record.call.started_at for record in group] for key, group in expected.items()}
    assert {row[:2]: row[2:4] for row in found} == {key: (min(at), max(at)) for key, at in times.items()}
    assert found == sorted(found)


def test_latency_counts_known_times_of_calls_that_went_well(seed: Seed) -> None:
    records = seed(300)
    expected: Counter[tuple[Any, ...]] = Counter()
    for record in records:
        for metric in METRICS:
            value = getattr(record.reading, f"{metric}_us")
            if record.reading.outcome == "ok" and value is not None:
                bucket = math.floor(4 * math.log2(value) + 1e-9) if value else 0
                hour = record.call.started_at - record.call.started_at % HOUR
                expected[hour, record.call.provider, record.model, metric, bucket] += 1
    latency = fold(map(pick, rows_of(records))).latency
    assert {row[:5]: row[5] for row in latency} == expected
    assert latency == sorted(latency)


def test_sums_asked_of_the_database_are_those_of_the_fold(ledger: Ledger, seed: Seed) -> None:
    records = seed(300)
    ledger.insert(records)
    with ledger.engine.connect() as connection:
        row = connection.execute(sa.select(*call_sums()).select_from(calls)).one()
    assert tuple(map(int, row)) == sums_of(records)


def test_unknown_is_not_zero_but_counted(make: Make) -> None:
    chat = {"operation": "chat"}
    records = [
        make(**chat, input_tokens=5, cost_nusd=None),
        make(**chat, output_tokens=0, cost_nusd=7, usage_source="estimated"),
        make(**chat),
        make(**chat, outcome="rejected"),
        make(operation=""),
    ]
    (row,) = fold(map(pick, rows_of(records))).usage
    found = dict(zip(SUMS, row[5:], strict=True))
    assert [found[name] for name in ("calls", "errors", "unpriced", "unmeasured", "estimated")] == [5, 1, 1, 1, 1]
    assert (found["input_tokens"], found["cost_nusd"]) == (5, 7)
