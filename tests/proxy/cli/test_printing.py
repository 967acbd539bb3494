"""Rows for eyes and for programs."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from proxy.cli.printing import (
    Form,
    Ruled,
    cell,
    dollars,
    fitting,
    milliseconds,
    printable,
    size,
    write_facts,
    write_rows,
)

ROWS = [
    {"model": "gpt-4o", "calls": 12_345, "cost_usd": 1.5, "at": datetime(2026, 1, 1, tzinfo=UTC), "hidden": None},
    {"model": None, "calls": 7, "cost_usd": None, "at": None, "hidden": {"a": [1, None]}},
]
COLUMNS = ["model", "calls", "cost_usd", "at", "hidden"]
REPOSITORY = Path(__file__).parents[3]


def test_a_pipe_gets_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(ROWS, COLUMNS, shown=COLUMNS[:4], zone=ZoneInfo("Europe/Berlin"))
    assert capsys.readouterr().out.splitlines() == [
        "model    calls  cost_usd  at",
        "gpt-4o  12,345     $1.50  2026-01-01 01:00:00",
        "-            7         -  -",
    ]


def test_json_is_a_list_of_objects_with_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(ROWS, COLUMNS, shown=["model"], form=Form.JSON)
    found = json.loads(capsys.readouterr().out)
    assert [list(row) for row in found] == [COLUMNS, COLUMNS]
    assert found[0] == {**ROWS[0], "at": "2026-01-01T00:00:00Z"}
    assert found[1] == ROWS[1]


def test_csv_leaves_unknown_empty(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(ROWS, COLUMNS, shown=["model"], form=Form.CSV)
    header, first, second = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header == COLUMNS
    assert first == ["gpt-4o", "12345", "1.5", "2026-01-01T00:00:00Z", ""]
    assert second == ["", "7", "", "", '{"a": [1, null]}']


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows([], COLUMNS, empty="nothing there")
    assert capsys.readouterr() == ("", "nothing there\n")
    write_rows([], COLUMNS, form=Form.JSON, empty="nothing there")
    assert capsys.readouterr() == ("[]\n", "")
    write_rows([], COLUMNS, form=Form.CSV)
    assert capsys.readouterr().out == ",".join(COLUMNS) + "\n"


def test_facts_leave_out_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    write_facts({"a": 1, "long_name": "x", "none": None, "empty": ""})
    assert capsys.readouterr().out == "a          1\nlong_name  x\n"


def test_rows_one_by_one_have_one_header(capsys: pytest.CaptureFixture[str]) -> None:
    ruled = Ruled(["model", "calls"], [6, 5], UTC)
    ruled.write({"model": "a-very-long-name", "calls": 1})
    ruled.write({"model": "b", "calls": 2})
    assert capsys.readouterr().out == "model   calls\na-very  1\nb       2\n"


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "$0.00"), (1234.5, "$1,234.50"), (0.0421, "$0.0421"), (0.000042, "$0.000042"), (1e-9, "$0.000000001")],
)
def test_dollars_keep_what_a_small_amount_says(amount: float, text: str) -> None:
    assert dollars(amount) == text


@pytest.mark.parametrize(("ms", "text"), [(0.4, "0.4 ms"), (850, "850 ms"), (12_300, "12.3 s"), (240_000, "4.0 min")])
def test_milliseconds(ms: float, text: str) -> None:
    assert milliseconds(ms) == text


@pytest.mark.parametrize(("n", "text"), [(12, "12 B"), (1536, "1.5 KiB"), (2**40, "1024.0 GiB")])
def test_sizes(n: float, text: str) -> None:
    assert size(n) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("http_status", 1200, "1200"),
        ("calls", 1200, "1,200"),
        ("stream", False, "no"),
        ("x", Decimal("1.25"), "1.2"),
        ("started_at", "2026-01-01T00:00:00.123456Z", "2026-01-01 00:00:00"),
        ("day", date(2026, 1, 1), "2026-01-01"),
        ("tags", {"a": "ü"}, '{"a": "ü"}'),
        ("model", "", "-"),
    ],
)
def test_cells(name: str, value: object, text: str) -> None:
    assert cell(name, value) == text


@given(text=st.text())
def test_nothing_steers_the_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) == len(text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_programs_get_the_text_as_it_is(capsys: pytest.CaptureFixture[str], text: str) -> None:
    capsys.readouterr()
    write_rows([{"model": text}], ["model"], form=Form.JSON)
    assert json.loads(capsys.readouterr().out) == [{"model": text}]


def on_a_terminal(code: str, width: int) -> str:
    """What the code writes to a terminal of so many columns."""
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=slave, cwd=REPOSITORY, env=environment)
    os.close(slave)
    out = b""
    try:
        while chunk := os.read(master, 4096):
            out += chunk
    except OSError:  # Linux ends a terminal that no one holds with EIO
        pass
    os.close(master)
    assert process.wait(20) == 0
    return out.decode()


def test_a_terminal_gets_a_table_and_markup_is_text() -> None:
    row = "{'model': '[red]x[/red]\\x1b[2J', 'calls': 1}"
    out = on_a_terminal(f"from proxy.cli.printing import *; write_rows([{row}], ['model', 'calls'])", 80)
    assert "[red]x[/red]\N{REPLACEMENT CHARACTER}" in out
    assert "\x1b[2J" not in out
    assert "wider" not in out


def test_a_narrow_terminal_gets_the_first_columns_and_is_told_of_the_others() -> None:
    code = "from proxy.cli.printing import *; write_rows([dict.fromkeys('abc', 'x' * 12)], ['a', 'b', 'c'])"
    out = on_a_terminal(code, 30)
    assert out.count("x" * 12) == 2
    assert "on a wider terminal: c" in out


def test_how_many_columns_fit() -> None:
    lines = [["a", "bb", "c"], ["aaaa", "b", "cc"]]
    assert [fitting(lines, room) for room in (1, 4, 8, 9, 13, 14, 99)] == [1, 1, 1, 2, 2, 3, 3]
