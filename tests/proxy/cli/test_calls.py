"""`weir calls`, `weir calls -f`, `weir call`, `weir errors`, on both stores."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from store.engine import open_engine
from store.ledger import Ledger
from store.migrate import upgrade
from store.query import call as call_named, calls as calls_of
from store.record import CallRecord

if TYPE_CHECKING:
    from tests.proxy.cli.conftest import Run

REPOSITORY = Path(__file__).parents[3]


def call_id(seq: int) -> str:
    return f"0199a3f0-7c1e-7d55-8f2c-{seq:012x}"


def seqs(rows: list[dict[str, str]]) -> list[int]:
    return [int(row["call_id"][-12:], 16) for row in rows]


def test_the_columns_are_those_of_call_log(weir: Run, store: str) -> None:
    rows = json.loads(weir("calls", "--store", store, "--json").out)
    view = json.loads(weir("sql", "SELECT * FROM call_log", "--store", store, "--json").out)
    assert list(rows[0]) == list(view[0])
    assert len(rows) == len(view) == 7


def test_calls_newest_first(weir: Run, store: str) -> None:
    rows = json.loads(weir("calls", "--store", store, "--json", "--limit", "4").out)
    assert seqs(rows) == [4, 2, 1, 3]
    assert (
        rows[0] | {"outcome": "upstream_error", "http_status": 429, "cost_usd": None, "input_tokens": None} == rows[0]
    )
    assert rows[1] | {"session_id": "chat-17", "cost_usd": 0.003, "ttft_ms": 300.0, "stream": True} == rows[1]
    assert rows[1]["started_at"].endswith("Z")


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (["--session", "chat-17"], [2, 1]),
        (["--project", "search"], [2, 1]),
        (["--upstream", "ktransformers"], [3]),
        (["--model", "llama"], [3]),
        (["--failed"], [4]),
        (["--since", "1h"], [4, 2, 1, 3]),
        (["--until", "30d"], [6, 7]),
    ],
)
def test_calls_narrowed(weir: Run, store: str, args: list[str], found: list[int]) -> None:
    assert seqs(json.loads(weir("calls", "--store", store, "--json", *args).out)) == found


def test_calls_as_a_table_and_as_csv(weir: Run, store: str) -> None:
    header, *lines = weir("calls", "--store", store, "--since", "1h").out.splitlines()
    assert header.split()[:3] == ["started_at", "upstream", "model"]
    assert len(lines) == 4
    rows = list(csv.DictReader(io.StringIO(weir("calls", "--store", store, "--csv").out)))
    assert rows[0]["cost_usd"] == ""


def test_one_call_has_everything(weir: Run, store: str) -> None:
    whole = json.loads(weir("call", call_id(2), "--store", store, "--json").out)
    assert whole["cost_usd"] == 0.003
    assert whole["tags"] == {"team": "blue"}
    assert whole["raw_usage"] == {"prompt_tokens": 100}
    assert whole["price_id"] == "book openai/gpt-4o"
    assert not [name for name in whole if name.endswith("_us") or name == "cost_nusd"]
    table = weir("call", call_id(2).upper(), "--store", store).out
    assert "duration_ms" in table and "2.0 s" in table
    assert "error_type" not in table
    rows = list(csv.DictReader(io.StringIO(weir("call", call_id(2), "--store", store, "--csv").out)))
    assert rows[0]["tags"] == '{"team": "blue"}'


@pytest.mark.parametrize("name", [call_id(99), "none-such", "'; DROP TABLE calls; --", "\x00"])
def test_a_call_that_no_one_knows(weir: Run, store: str, name: str) -> None:
    found = weir("call", name, "--store", store)
    assert (found.code, found.out) == (1, "")
    assert "no call has the id" in found.err


def test_errors(weir: Run, store: str) -> None:
    rows = json.loads(weir("errors", "--store", store, "--json").out)
    assert [row | {"first_seen": "", "last_seen": ""} for row in rows] == [
        {"upstream": "openai", "provider": "openai", "model": "gpt-4o", "outcome": "upstream_error", "http_status": 429,
         "error_type": "rate_limit_exceeded", "errors": 1, "sessions": 0, "first_seen": "", "last_seen": ""}
    ]  # fmt: skip
    found = weir("errors", "--store", store, "--upstream", "ktransformers")
    assert (found.code, found.out) == (0, "")
    assert "nothing failed" in found.err


@contextmanager
def following(store: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-u", "-m", "proxy", "calls", "-f", "--every", "0.1", "--store", store, *args]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "TZ": "UTC"},
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == 130


def again(store: str, seq: int) -> None:
    """Stores a copy of call 2 that started now."""
    engine = open_engine(store)
    with engine.connect() as connection:
        record = call_named(connection, call_id(2))
        assert record is not None
        connection.rollback()
    engine.dispose()
    record.call.call_id, record.call.seq = call_id(seq), seq
    record.call.started_at = time.time_ns() // 1000 - 2_000_000
    insert(store, [record])


def insert(store: str, records: list[CallRecord]) -> None:
    ledger = Ledger(store)
    ledger.insert(records)
    ledger.dispose()


@pytest.fixture
def own_store(empty_store: str, sqlite_store: str) -> str:
    """A store with the calls of the last hour, which a test may change."""
    upgrade(empty_store)
    engine = open_engine(sqlite_store)
    with engine.connect() as connection:
        recent = calls_of(connection, limit=4)
        records = [found for row in recent if (found := call_named(connection, row.call_id)) is not None]
        connection.rollback()
    engine.dispose()
    insert(empty_store, records)
    return empty_store


def test_following_shows_old_calls_once_and_new_ones_as_they_come(own_store: str) -> None:
    with following(own_store, "--json") as process:
        assert process.stdout is not None
        first = [json.loads(process.stdout.readline()) for _ in range(4)]
        assert seqs(first) == [3, 1, 2, 4]
        for seq in (20, 21):
            again(own_store, seq)
            assert seqs([json.loads(process.stdout.readline())]) == [seq]
    rest, err = process.communicate()
    assert (rest, err) == ("", "")


def test_following_as_csv_and_as_a_table(own_store: str) -> None:
    for form, header in (("--csv", "call_id,"), ("--failed", "started_at ")):
        with following(own_store, form) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(header)
            assert process.stdout.readline()


@pytest.mark.parametrize("empty_store", ["sqlite"], indirect=True)  # the shared server is not stopped for this
def test_following_outlives_a_store_that_is_away(own_store: str) -> None:
    path = Path(own_store.removeprefix("sqlite:///"))
    with following(own_store, "--json", "--limit", "1") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline()
        path.rename(path.with_suffix(".away"))
        assert process.stderr.readline().startswith("weir: ")
        assert "still trying" in process.stderr.readline()
        path.with_suffix(".away").rename(path)
        again(own_store, 30)
        assert seqs([json.loads(process.stdout.readline())]) == [30]


def test_following_has_no_end(weir: Run, sqlite_store: str) -> None:
    assert weir("calls", "-f", "--until", "now", "--store", sqlite_store).code == 2


def test_a_closed_pipe_is_no_fault(sqlite_store: str) -> None:
    # The reader is gone before the first byte, so the write fails for certain.
    script = f'(sleep 1; "{sys.executable}" -m proxy calls --json --store "{sqlite_store}"; echo "code $?" >&2) | true'
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY, timeout=30)
    assert (out.stdout, out.stderr) == ("", "code 0\n")


def test_a_dialect_is_not_what_the_answer_depends_on(weir: Run, sqlite_store: str, postgres_store: str) -> None:
    for verb in (
        ["calls"],
        ["sessions"],
        ["usage", "--by", "day,upstream"],
        ["errors"],
        ["latency"],
        ["top", "--once"],
    ):
        answers = [weir(*verb, "--json", "--store", store).out for store in (sqlite_store, postgres_store)]
        assert answers[0] == answers[1], verb
