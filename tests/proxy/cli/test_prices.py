"""`weir prices` and `weir prices missing`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.proxy.cli.conftest import Run

COLUMNS = [
    *("upstream", "model", "input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "per_request"),
    *("source", "price_id"),
]


@pytest.fixture
def own_prices(tmp_path: Path) -> None:
    (tmp_path / "weir.toml").write_text(
        '[[prices]]\nupstream = "ktransformers"\nmodel = "Meta-Llama-3*"\ninput_mtok = "0.05"\noutput_mtok = "0.08"\n'
        '[[prices]]\nmodel = "gpt-4o"\nupstream = "groq"\nper_request = "0.25"\nstart = 2026-01-01\n'
    )


def test_a_model_of_the_catalogue(weir: Run) -> None:
    rows = json.loads(weir("prices", "gpt-4o", "--upstream", "openai", "--json").out)
    assert [list(row) for row in rows] == [COLUMNS]
    assert (rows[0]["upstream"], rows[0]["source"]) == ("openai", "catalogue")
    assert float(rows[0]["input_mtok"]) > 0
    assert rows[0]["price_id"].startswith("genai-prices ")
    assert "openai" in weir("prices", "gpt-4o").out


@pytest.mark.usefixtures("own_prices")
def test_own_prices_go_first(weir: Run) -> None:
    rows = json.loads(weir("prices", "gpt-4o", "--json").out)
    sources = {row["upstream"]: row["source"] for row in rows}
    assert (sources["openai"], sources["groq"]) == ("catalogue", "override")
    rows = json.loads(weir("prices", "Meta-Llama-3-8B-Instruct", "--upstream", "ktransformers", "--json").out)
    assert (rows[0]["input_mtok"], rows[0]["output_mtok"]) == ("0.05", "0.08")


@pytest.mark.usefixtures("own_prices")
def test_own_prices_listed(weir: Run) -> None:
    rows = json.loads(weir("prices", "--json").out)
    assert [(row["upstream"], row["model"], row["per_request"]) for row in rows] == [
        ("ktransformers", "Meta-Llama-3*", None),
        ("groq", "gpt-4o", "0.25"),
    ]
    assert rows[1]["price_id"] == "override 2 from 2026-01-01"


def test_no_own_prices(weir: Run) -> None:
    found = weir("prices")
    assert (found.code, found.out) == (0, "")
    assert "no [[prices]]" in found.err


def test_a_model_that_no_book_knows(weir: Run) -> None:
    found = weir("prices", "none-such-9")
    assert (found.code, found.out) == (1, "")
    assert "no price for 'none-such-9'" in found.err


@pytest.mark.parametrize("args", [["gpt-4o", "--upstream", "opnai"], ["gpt-4o", "--since", "7d"]])
def test_wrong_use(weir: Run, args: list[str]) -> None:
    assert weir("prices", *args).code == 2


def test_what_has_no_price(weir: Run, store: str) -> None:
    rows = json.loads(weir("prices", "missing", "--store", store, "--json").out)
    assert [list(row) for row in rows] == [
        ["upstream", "provider", "model", "unpriced", "calls", "first_hour", "last_hour"]
    ]
    assert (rows[0]["model"], rows[0]["unpriced"]) == ("llama", 1)
    assert "llama" in weir("prices", "missing", "--since", "7d", "--store", store).out


def test_all_has_a_price(weir: Run, empty_store: str) -> None:
    weir("db", "upgrade", "--store", empty_store)
    found = weir("prices", "missing", "--store", empty_store)
    assert (found.code, found.out) == (0, "")
    assert "has a price" in found.err
