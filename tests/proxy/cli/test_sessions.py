"""`weir sessions`, `weir session`, on both stores."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.proxy.cli.conftest import Run

COLUMNS = [
    *("session_id", "project", "first_call_at", "last_call_at", "calls", "errors", "unpriced", "unmeasured"),
    *("estimated", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cost_usd", "duration_ms"),
]


def test_sessions_by_cost_and_by_time(weir: Run, store: str) -> None:
    dearest = json.loads(weir("sessions", "--store", store, "--json").out)
    assert [list(row) for row in dearest] == [COLUMNS, COLUMNS]
    assert [row["session_id"] for row in dearest] == ["old=1;\x1b[31m", "chat-17"]
    assert (dearest[1]["project"], dearest[1]["calls"], dearest[1]["cost_usd"]) == ("search", 2, 0.004)
    assert dearest[1]["first_call_at"] < dearest[1]["last_call_at"]
    latest = json.loads(weir("sessions", "--store", store, "--json", "--order", "time", "--limit", "1").out)
    assert [row["session_id"] for row in latest] == ["chat-17"]


def test_sessions_of_a_time_and_a_project(weir: Run, store: str) -> None:
    rows = list(csv.reader(io.StringIO(weir("sessions", "--store", store, "--since", "1h", "--csv").out)))
    assert [row[0] for row in rows] == ["session_id", "chat-17"]
    assert json.loads(weir("sessions", "--store", store, "--project", "none-such", "--json").out) == []


def test_names_from_outside_do_not_steer_the_terminal(weir: Run, store: str) -> None:
    out = weir("sessions", "--store", store).out
    assert "\x1b" not in out
    assert "old=1;\ufffd[31m" in out


def test_one_session(weir: Run, store: str) -> None:
    whole = json.loads(weir("session", "chat-17", "--store", store, "--json").out)
    assert list(whole) == ["summaries", "calls"]
    assert [list(row) for row in whole["summaries"]] == [COLUMNS]
    assert [call["cost_usd"] for call in whole["calls"]] == [0.001, 0.003]
    table = weir("session", "chat-17", "--store", store).out.splitlines()
    assert table[1].split()[:2] == ["chat-17", "search"]
    assert len(table) == 6
    rows = list(csv.DictReader(io.StringIO(weir("session", "chat-17", "--store", store, "--csv").out)))
    assert [row["cost_usd"] for row in rows] == ["0.001", "0.003"]


def test_a_session_that_no_one_knows(weir: Run, store: str) -> None:
    found = weir("session", "none-such", "--store", store)
    assert (found.code, found.out) == (1, "")
    assert "no session is called 'none-such'" in found.err
    assert "hint: " in found.err


def test_an_order_that_is_none(weir: Run, sqlite_store: str) -> None:
    assert weir("sessions", "--store", sqlite_store, "--order", "mood").code == 2
