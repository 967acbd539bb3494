"""The views for people: the columns that are promised, and the same answers on both databases."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from store.ledger import Ledger
from store.query.rows import iso
from store.schema import EPOCH, MICROSECOND
from tests.store.conftest import HOUR, START, Make, Seed

CALL_LOG = """call_id, started_at, session_id, session_source, project, user_id, key_id, upstream, provider, operation,
wire_format, request_model, response_model, model, stream, outcome, http_status, error_type, finish_reason, duration_ms,
first_chunk_ms, ttft_ms, inter_token_ms, tokens_per_second, overhead_ms, input_tokens, output_tokens, cache_read_tokens,
cache_write_tokens, reasoning_tokens, total_tokens, usage_source, cost_usd, cost_source, chunks, request_bytes,
response_bytes, upstream_request_id, trace_id, meter_fault""".replace("\n", " ").split(", ")

SUMS = "calls errors unpriced unmeasured estimated input_tokens output_tokens cache_read_tokens cache_write_tokens"
SUMS += " reasoning_tokens cost_usd duration_ms"
COLUMNS = {
    "call_log": CALL_LOG,
    "session_summary": ["session_id", "project", "first_call_at", "last_call_at", *SUMS.split()],
    "hourly_usage": ["hour", "project", "upstream", "provider", "model", *SUMS.split()],
    "daily_usage": ["day", "project", "upstream", "provider", "model", *SUMS.split()],
    "model_latency": ["provider", "model", "metric", "calls", "p50_ms", "p95_ms", "p99_ms"],
    "error_log": [
        *("started_at", "call_id", "session_id", "project", "user_id", "upstream", "provider", "model", "outcome"),
        *("http_status", "error_type", "duration_ms", "upstream_request_id", "meter_fault"),
    ],
    "unpriced_models": ["upstream", "provider", "model", "unpriced", "calls", "first_hour", "last_hour"],
}


def read(ledger: Ledger, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    with ledger.engine.connect() as connection:
        found = connection.exec_driver_sql(query)
        names = list(found.keys())
        return names, sorted((tuple(map(plain, row)) for row in found), key=repr)


def plain(value: Any) -> Any:
    """One spelling for what the drivers give: PostgreSQL has types where SQLite has text and integers."""
    if isinstance(value, datetime):
        return iso((value - EPOCH) // MICROSECOND)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    assert not isinstance(value, Decimal), "a number that is neither integer nor float"
    return int(value) if isinstance(value, bool) else value


def one(ledger: Ledger, query: str) -> dict[str, Any]:
    names, (row,) = read(ledger, query)
    return dict(zip(names, row, strict=True))


@pytest.mark.parametrize("view", COLUMNS)
def test_a_view_has_the_columns_that_are_promised(ledger: Ledger, view: str) -> None:
    assert read(ledger, f"SELECT * FROM {view}")[0] == COLUMNS[view]


@pytest.mark.parametrize("view", COLUMNS)
def test_both_databases_show_the_same(both: tuple[Ledger, Ledger], seed: Seed, view: str) -> None:
    records = seed(250)
    first, second = (ledger.insert(records) and read(ledger, f"SELECT * FROM {view}") for ledger in both)
    assert first == second
    assert len(first[1]) > 1


def test_call_log_in_human_units(ledger: Ledger, make: Make) -> None:
    record = make(
        session_id="s",
        session_source="header",
        duration_us=2_000_500,
        overhead_us=120,
        output_tokens=100,
        cost_nusd=1_500_000,
        cost_source="override",
        stream=True,
        usage_source="provider",
        started_at=START + 7,
    )
    ledger.insert([record])
    row = one(ledger, "SELECT * FROM call_log")
    assert row["started_at"] == "2026-09-21T14:13:20.000007Z"
    assert (row["duration_ms"], row["overhead_ms"], row["cost_usd"]) == (2000.5, 0.12, 0.0015)
    assert row["tokens_per_second"] == pytest.approx(49.9875, rel=1e-6)
    assert (row["session_id"], row["stream"]) == ("s", 1)


def test_unknown_is_null_in_every_view(ledger: Ledger, make: Make) -> None:
    ledger.insert([make(outcome="timeout", input_tokens=1, duration_us=0, output_tokens=3)])
    row = one(ledger, "SELECT * FROM call_log")
    empty = {"session_id", "project", "user_id", "key_id", "upstream", "provider", "operation", "model", "trace_id"}
    assert {name for name in empty | {"cost_usd", "ttft_ms", "tokens_per_second"} if row[name] is not None} == set()
    for view in ("hourly_usage", "daily_usage", "error_log", "unpriced_models"):
        names = one(ledger, f"SELECT * FROM {view}")
        assert (names["upstream"], names["provider"], names["model"]) == (None, None, None)


def test_days_are_utc_days(ledger: Ledger, make: Make) -> None:
    midnight = START - START % (24 * HOUR) + 24 * HOUR
    ledger.insert([make(started_at=midnight - 1), make(started_at=midnight), make(started_at=midnight + 23 * HOUR)])
    rows = read(ledger, "SELECT day, calls FROM daily_usage")[1]
    assert rows == [("2026-09-21", 1), ("2026-09-22", 2)]


def test_percentiles_lie_in_the_bucket_of_the_exact_one(ledger: Ledger, make: Make) -> None:
    ledger.insert([make(duration_us=n * 1000, provider="p", request_model="m") for n in range(1, 101)])
    row = one(ledger, "SELECT * FROM model_latency WHERE metric = 'duration'")
    assert row["calls"] == 100
    for name, exact in (("p50_ms", 50), ("p95_ms", 95), ("p99_ms", 99)):
        assert row[name] == pytest.approx(exact, rel=0.19)


def test_error_log_shows_failures_and_not_clients_that_left(ledger: Ledger, make: Make) -> None:
    ledger.insert([make(outcome=outcome) for outcome in ("ok", "client_closed", "timeout", "rejected")])
    assert sorted(row[0] for row in read(ledger, "SELECT outcome FROM error_log")[1]) == ["rejected", "timeout"]


def test_unpriced_models_are_those_with_tokens_and_no_price(ledger: Ledger, make: Make) -> None:
    named = {"upstream": "u", "provider": "p"}
    ledger.insert(
        [
            make(request_model="priced", input_tokens=1, cost_nusd=1, cost_source="catalogue", **named),
            make(request_model="unpriced", input_tokens=1, **named),
            make(request_model="unmeasured", **named),
        ]
    )
    assert [row[2:5] for row in read(ledger, "SELECT * FROM unpriced_models")[1]] == [("unpriced", 1, 1)]
