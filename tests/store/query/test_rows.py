"""Rows against the view whose names they bear, and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson

from store.ledger import Ledger
from store.query import CallRow, Counts, SessionDetail, UsageRow, as_dict, calls, session
from store.query.rows import iso
from tests.store.conftest import START, Make, Seed


def test_a_call_row_is_a_row_of_call_log(ledger: Ledger, seed: Seed) -> None:
    ledger.insert(seed(150))
    with ledger.engine.connect() as connection:
        view = connection.exec_driver_sql("SELECT * FROM call_log ORDER BY started_at DESC, call_id DESC").mappings()
        shown = [dict(row) for row in view]
        found = [as_dict(row) for row in calls(connection, limit=999)]
    assert [list(row) for row in found] == [list(row) for row in shown]
    for row in shown:
        row["call_id"] = str(row["call_id"])
        row["started_at"] = row["started_at"] if isinstance(row["started_at"], str) else None
        row["stream"] = None if row["stream"] is None else bool(row["stream"])
    if ledger.engine.dialect.name == "postgresql":
        found = [{**row, "started_at": None} for row in found]
    assert found == shown


def test_json_speaks_dollars_milliseconds_and_iso_8601() -> None:
    row = as_dict(UsageRow(model="m", cost_nusd=1_500_000_000, duration_us=2_500, hour=START))
    assert (row["cost_usd"], row["duration_ms"], row["hour"]) == (1.5, 2.5, "2026-09-21T14:13:20.000000Z")
    assert "cost_nusd" not in row
    assert "duration_us" not in row
    empty = Counts(calls=0, summed_calls=0, sessions=0, first_call_at=None, last_call_at=None, kept_from=None)
    assert as_dict(empty)["first_call_at"] is None


def test_json_of_a_session_holds_its_calls(ledger: Ledger, make: Make) -> None:
    ledger.insert([make(session_id="s", session_source="header", started_at=START)])
    with ledger.engine.connect() as connection:
        detail = session(connection, "s")
    assert isinstance(detail, SessionDetail)
    found: dict[str, Any] = orjson.loads(orjson.dumps(as_dict(detail)))
    assert [row["started_at"] for row in found["calls"]] == [iso(START)]
    assert found["summaries"][0]["session_id"] == "s"


def test_rows_do_not_change() -> None:
    assert all(row.__dataclass_params__.frozen for row in (CallRow, UsageRow, Counts))
    assert dataclasses.fields(CallRow)[0].name == "call_id"
