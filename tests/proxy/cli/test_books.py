"""`weir sql` and `weir verify`, on both stores."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

from store.engine import open_engine
from store.migrate import upgrade

if TYPE_CHECKING:
    from tests.proxy.cli.conftest import Run

VIEWS = ["call_log", "session_summary", "daily_usage", "hourly_usage", "model_latency", "error_log", "unpriced_models"]


def test_any_select(weir: Run, store: str) -> None:
    statement = "SELECT model, count(*) AS calls, sum(cost_usd) AS cost_usd FROM call_log GROUP BY model ORDER BY model"
    found = weir("sql", statement, "--store", store, "--json")
    assert found.code == 0
    assert json.loads(found.out) == [
        {"model": "gpt-4o", "calls": 6, "cost_usd": pytest.approx(0.513)},
        {"model": "llama", "calls": 1, "cost_usd": None},
    ]
    rows = list(csv.reader(io.StringIO(weir("sql", statement, "--store", store, "--csv").out)))
    assert rows[0] == ["model", "calls", "cost_usd"]
    assert weir("sql", statement, "--store", store).out.splitlines()[1].split() == ["gpt-4o", "6", "$0.5130"]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_read(weir: Run, store: str, view: str) -> None:
    found = weir("sql", f"SELECT * FROM {view}", "--store", store, "--json")
    assert found.code == 0
    assert json.loads(found.out)


def test_a_statement_from_standard_input(weir: Run, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 1 AS one"))
    assert json.loads(weir("sql", "-", "--store", store, "--json").out) == [{"one": 1}]


def test_percent_signs_and_repeated_names(weir: Run, store: str) -> None:
    found = weir("sql", "SELECT 1 AS a, 2 AS a, 'x%y' AS b WHERE 'abc' LIKE 'a%'", "--store", store, "--json")
    assert json.loads(found.out) == [{"a": 1, "a_2": 2, "b": "x%y"}]


def test_no_rows_and_too_many(weir: Run, store: str) -> None:
    assert weir("sql", "SELECT 1 AS a WHERE 1 = 0", "--store", store, "--csv").out == "a\n"
    found = weir("sql", "SELECT call_id FROM call_log", "--store", store, "--limit", "2", "--csv")
    assert len(found.out.splitlines()) == 3
    assert "more than 2 rows" in found.err


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM calls",
        "DROP TABLE calls",
        "INSERT INTO gaps VALUES ('b', 1, 1, 'x', NULL)",
        "CREATE TABLE x (a integer)",
        "COMMIT; DELETE FROM calls",
        "ROLLBACK; DELETE FROM calls",
        "SET TRANSACTION READ WRITE; DELETE FROM calls",
        "PRAGMA query_only=OFF; DELETE FROM calls",
    ],
)
def test_nothing_can_be_written(weir: Run, store: str, statement: str) -> None:
    found = weir("sql", statement, "--store", store)
    assert found.code == 1
    assert "refused" in found.err
    assert json.loads(weir("sql", "SELECT count(*) AS n FROM calls", "--store", store, "--json").out) == [{"n": 7}]


@pytest.mark.parametrize("statement", ["SELEC 1", "SELECT nothing_such", "SELECT * FROM nothing_such", ""])
def test_statements_that_are_none(weir: Run, store: str, statement: str) -> None:
    found = weir("sql", statement, "--store", store)
    assert found.code in (1, 2)
    assert found.err
    assert found.out == ""


def test_the_books_balance(weir: Run, store: str) -> None:
    found = weir("verify", "--store", store)
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("the books balance: 7 calls")
    whole = json.loads(weir("verify", "--store", store, "--json").out)
    assert whole == {"calls": 7, "findings": [], "in_flight": 0, "noted": {}, "balanced": True}


def test_the_books_do_not_balance(weir: Run, empty_store: str) -> None:
    upgrade(empty_store)
    engine = open_engine(empty_store)
    with engine.begin() as connection:
        hour = "0" if empty_store.startswith("sqlite") else "'1970-01-01T00:00:00Z'"
        connection.exec_driver_sql(
            f"INSERT INTO usage_hourly VALUES ({hour}, 'p', 'u', 'v', 'm', 1,0,0,0,0,0,0,0,0,0,0,0)"
        )
    engine.dispose()
    found = weir("verify", "--store", empty_store)
    assert found.code == 1
    assert "1 places where the books do not balance" in found.out
    assert "usage: hour 0 p/u/v/m" in found.out
    assert json.loads(weir("verify", "--store", empty_store, "--json").out)["balanced"] is False
