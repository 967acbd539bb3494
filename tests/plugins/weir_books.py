"""One call twice, straight to the simulator and through weir: equal results, and rows that agree with its ledger."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.plugins.simulator import Simulator
from tests.plugins.weir import Row, Weir

Call = Callable[[str, Mapping[str, str]], Any]
"""(base URL of a vendor, headers) -> something that can be compared."""


@dataclass
class Both:
    """What came of the two calls."""

    result: Any
    row: Row
    entry: dict[str, Any]
    """The simulator's ledger about the call that came through weir."""


@dataclass
class Books:
    """Makes calls twice and compares."""

    simulator: Simulator
    weir: Weir
    session: str = field(default_factory=lambda: f"s-{uuid.uuid4().hex}")

    def twice(self, vendor: str, call: Call, **steering: Any) -> Both:
        """The call, both ways; results must be equal. `steering` are `x-sim-` headers: tokens_out=5."""
        headers = {f"x-sim-{name.replace('_', '-')}": str(value) for name, value in steering.items()}
        headers["x-sim-tag"] = self.session
        direct = call(f"{self.simulator.url}/{vendor}", headers)
        through = call(f"{self.weir.url}/with/session={self.session}/{vendor}", headers)
        assert through == direct
        assert direct is not None
        row = self.weir.wait_for_rows(1, f"session_id = '{self.session}'")[-1]
        first, second = self.simulator.ledger(self.session)
        assert first["id"] == second["id"]
        return Both(through, row, second)

    def balanced(self, vendor: str, call: Call, **steering: Any) -> Both:
        """The same for a call that ends well: its row has the simulator's numbers, or says that they are estimates."""
        both = self.twice(vendor, call, **steering)
        agree(both.row, both.entry)
        return both


def agree(row: Row, entry: Mapping[str, Any]) -> None:
    """A finished call: the row says what the simulator's ledger says."""
    assert (row["outcome"], row["http_status"], row["stream"]) == ("ok", 200, entry["stream"])
    assert row["request_model"] == entry["model"]
    assert row["session_source"] == "path"
    assert row["meter_fault"] is None
    assert entry["finished"]
    if entry["usage_sent"]:
        _same_numbers(row, entry)
    else:
        assert row["usage_source"] == "estimated"
        assert row["input_tokens"] > 0
        assert row["output_tokens"] > 0


def _same_numbers(row: Row, entry: Mapping[str, Any]) -> None:
    assert row["usage_source"] == "provider"
    assert row["input_tokens"] == entry["input_tokens"]
    assert (row["output_tokens"] or None) == entry["output_tokens"]
    total = entry["input_tokens"] + (entry["output_tokens"] or 0)
    assert row["total_tokens"] == total
    # A provider may leave out what is zero; weir then does not know it.
    parts = {"cache_read_tokens": "cached", "cache_write_tokens": "cache_write", "reasoning_tokens": "reasoning"}
    assert {name: row[name] or 0 for name in parts} == {name: entry[part] for name, part in parts.items()}


@pytest.fixture
def books(simulator: Simulator, weir: Weir) -> Books:
    return Books(simulator, weir)
