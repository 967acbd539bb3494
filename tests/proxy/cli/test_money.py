"""`weir usage`, `weir latency`, `weir top`, on both stores."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.proxy.cli.conftest import Run

REPOSITORY = Path(__file__).parents[3]
SUMS = [
    *("calls", "errors", "unpriced", "unmeasured", "estimated", "input_tokens", "output_tokens"),
    *("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost_usd", "duration_ms"),
]


def test_usage_by_model_of_the_last_seven_days(weir: Run, store: str) -> None:
    found = weir("usage", "--store", store, "--json")
    assert found.code == 0
    assert json.loads(found.out) == [
        {"model": "gpt-4o", "calls": 4, "errors": 1, "unpriced": 0, "unmeasured": 0, "estimated": 0,
         "input_tokens": 300, "output_tokens": 150, "cache_read_tokens": 0, "cache_write_tokens": 0,
         "reasoning_tokens": 0, "cost_usd": 0.013, "duration_ms": 8000.0},
        {"model": "llama", "calls": 1, "errors": 0, "unpriced": 1, "unmeasured": 0, "estimated": 1,
         "input_tokens": 100, "output_tokens": 50, "cache_read_tokens": 0, "cache_write_tokens": 0,
         "reasoning_tokens": 0, "cost_usd": 0.0, "duration_ms": 2000.0},
    ]  # fmt: skip


def test_usage_says_when_sums_are_lower_bounds(weir: Run, store: str) -> None:
    err = weir("usage", "--store", store, "--csv", "--since", "60d").err
    assert "1 calls have no known price" in err
    assert "1 answered calls have no known tokens" in err


def test_usage_as_csv(weir: Run, store: str) -> None:
    found = weir("usage", "--store", store, "--by", "project,user", "--since", "1h", "--csv")
    header, *rows = csv.reader(io.StringIO(found.out))
    assert header == ["project", "user_id", *SUMS]
    assert sorted(row[:3] for row in rows) == [["", "", "2"], ["search", "ann", "2"]]


def test_usage_as_a_table_has_a_total(weir: Run, store: str) -> None:
    lines = weir("usage", "--store", store, "--since", "60d").out.splitlines()
    assert lines[0].split() == ["model", "calls", "errors", "input_tokens", "output_tokens", "cost_usd"]
    assert lines[1].split() == ["gpt-4o", "6", "1", "400", "200", "$0.5130"]
    assert lines[-1].split() == ["total", "7", "1", "500", "250", "$0.5130"]


def test_usage_by_day_in_a_zone(weir: Run, store: str) -> None:
    days = [json.loads(weir("usage", "--store", store, "--since", "60d", "--by", "day", "--json", "--tz", zone).out)
            for zone in ("UTC", "Asia/Tokyo")]  # fmt: skip
    assert [sum(row["calls"] for row in day) for day in days] == [7, 7]
    assert all(len(row["day"]) == 10 for day in days for row in day)


def test_usage_of_no_time_at_all(weir: Run, store: str) -> None:
    found = weir("usage", "--store", store, "--since", "2020-01-01", "--until", "2020-01-02")
    assert (found.code, found.out) == (0, "")
    assert "no calls in that time" in found.err
    assert weir("usage", "--store", store, "--since", "2020-01-01", "--until", "2020-01-02", "--json").out == "[]\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--by", "colour"], "cannot group by colour; known: project"),
        (["--since", "soon"], "'soon' is not a time"),
        (["--since", "1h", "--until", "2h"], "is not before"),
        (["--tz", "Mars/Base"], "not a time zone"),
        (["--json", "--csv"], "at once"),
        (["--limit", "0"], "--limit"),
        (["--colour"], "No such option"),
        (["extra"], "extra"),
    ],
)
def test_wrong_use(weir: Run, sqlite_store: str, args: list[str], message: str) -> None:
    found = weir("usage", "--store", sqlite_store, *args)
    assert (found.code, found.out) == (2, "")
    assert message in found.err


def test_latency(weir: Run, store: str) -> None:
    rows = json.loads(weir("latency", "--store", store, "--json").out)
    assert list(rows[0]) == ["model", "metric", "calls", "p50_ms", "p95_ms", "p99_ms"]
    assert [row["metric"] for row in rows if row["model"] == "gpt-4o"] == [
        "duration",
        "ttft",
        "first_chunk",
        "overhead",
    ]
    ttft = json.loads(weir("latency", "--store", store, "--json", "--metric", "ttft", "--by", "provider,model").out)
    assert [(row["provider"], row["model"], row["calls"]) for row in ttft] == [
        ("openai", "gpt-4o", 3),
        ("ktransformers", "llama", 1),
    ]
    assert ttft[0]["p50_ms"] == pytest.approx(300, rel=0.1)


def test_latency_wrong_use(weir: Run, sqlite_store: str) -> None:
    assert weir("latency", "--store", sqlite_store, "--metric", "mood").code == 2
    assert weir("latency", "--store", sqlite_store, "--by", "user").code == 2


def test_top_once(weir: Run, store: str) -> None:
    rows = json.loads(weir("top", "--once", "--store", store, "--json").out)
    assert list(rows[0]) == ["session_id", "project", "model", *SUMS]
    assert (rows[0]["session_id"], rows[0]["calls"], rows[0]["cost_usd"]) == ("chat-17", 2, 0.004)


def test_top_without_a_terminal_looks_once(weir: Run, sqlite_store: str) -> None:
    found = weir("top", "--store", sqlite_store, "--limit", "1")
    assert len(found.out.splitlines()) == 2
    assert "\x1b" not in found.out


def test_top_on_a_terminal_refreshes(sqlite_store: str) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "proxy", "top", "--store", sqlite_store, "--every", "0.1"]
    process = subprocess.Popen(command, stdout=slave, stderr=slave, cwd=REPOSITORY)
    os.close(slave)
    out = b""
    try:
        while out.count(b"\x1b[2J") < 3:
            out += os.read(master, 65_536)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        os.close(master)
    assert b"chat-17" in out
    assert process.returncode == 130
