"""The books balance, and every way of cooking them is found."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from store.journal import Gap, Position
from store.ledger import Ledger
from store.verify import Report, _uncovered, verify
from tests.store.conftest import Make, Seed


def report(ledger: Ledger, **given: Any) -> Report:
    with ledger.engine.connect() as connection:
        return verify(connection, **given)


def change(ledger: Ledger, statement: str) -> None:
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def test_an_empty_ledger_balances(ledger: Ledger) -> None:
    assert report(ledger) == Report(calls=0, findings=[], in_flight=0, noted={})


def test_a_ledger_that_was_only_written_balances(ledger: Ledger, seed: Seed) -> None:
    ledger.insert(seed(300))
    assert report(ledger) == Report(calls=300, findings=[], in_flight=0, noted={})


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE usage_hourly SET cost_nusd = cost_nusd + 1", "usage"),
        ("UPDATE usage_hourly SET unmeasured = unmeasured + 1", "usage"),
        ("DELETE FROM usage_hourly", "usage"),
        ("UPDATE sessions SET calls = calls - 1", "session"),
        ("UPDATE sessions SET session_id = 'other' WHERE session_id = 's-1'", "session"),
        ("UPDATE latency_hourly SET n = n + 1 WHERE metric = 'ttft'", "latency"),
        ("DELETE FROM latency_hourly WHERE metric = 'overhead'", "latency"),
    ],
)
def test_sums_that_are_not_those_of_the_rows_are_found(ledger: Ledger, seed: Seed, statement: str, kind: str) -> None:
    ledger.insert(seed(60))
    change(ledger, statement)
    found = report(ledger)
    assert not found.balanced
    assert {finding.kind for finding in found.findings} == {kind}
    assert any(finding.call_ids for finding in found.findings)


def test_a_deleted_row_is_missed_by_number_and_by_sum(ledger: Ledger, make: Make) -> None:
    batch = [make(session_id="s", session_source="header") for _ in range(5)]
    ledger.insert(batch)
    change(ledger, "DELETE FROM calls WHERE seq = 3")
    found = report(ledger).findings
    assert [finding.kind for finding in found] == ["usage", "session", "missing"]
    assert found[-1].call_ids == (batch[1].call.call_id, batch[3].call.call_id)
    assert "number 3" in found[-1].detail


def test_the_first_number_of_a_boot_is_1(ledger: Ledger, make: Make) -> None:
    ledger.insert([make(seq=4)])
    (finding,) = report(ledger).findings
    assert "numbers 1 to 3" in finding.detail
    assert len(finding.call_ids) == 1


def test_a_hole_that_is_noted_is_no_finding(ledger: Ledger, make: Make) -> None:
    batch = [make() for _ in range(9)]
    lost = [("b" * 32, Gap(3, 4, "ENOSPC")), ("b" * 32, Gap(6, 6, "oversized"))]
    ledger.insert([record for record in batch if record.call.seq not in (3, 4, 6)], lost=lost)
    found = report(ledger)
    assert (found.findings, found.noted) == ([], {"ENOSPC": 2, "oversized": 1})


def test_a_hole_that_is_noted_in_part_is_a_finding(ledger: Ledger, make: Make) -> None:
    batch = [make() for _ in range(9)]
    kept = [record for record in batch if record.call.seq not in (3, 4, 5)]
    ledger.insert(kept, lost=[("b" * 32, Gap(4, 4, "x")), ("c" * 32, Gap(1, 9, "another boot"))])
    details = [finding.detail for finding in report(ledger).findings]
    assert [detail.split(": ")[1] for detail in details] == ["number 3", "number 5"]


def test_a_hole_in_a_journal_still_read_is_in_flight(ledger: Ledger, make: Make) -> None:
    batch = [make() for _ in range(5)]
    ledger.insert([record for record in batch if record.call.seq not in (2, 3)], positions={"b" * 32: Position(1, 1)})
    assert (report(ledger).findings, report(ledger).in_flight) == ([], 2)
    known = report(ledger, in_flight={"b" * 32: {2}})
    assert ([finding.kind for finding in known.findings], known.in_flight) == (["missing"], 1)
    ledger.close_boot("b" * 32)
    assert len(report(ledger).findings) == 1


def test_a_number_twice_is_found(ledger: Ledger, make: Make) -> None:
    ledger.insert([make(), make(seq=1, call_id="01890a5d-ac96-774b-bcce-b302099a8057")])
    (finding,) = report(ledger).findings
    assert (finding.kind, len(finding.call_ids)) == ("twice", 2)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"input_tokens": 5, "cache_read_tokens": 3, "cache_write_tokens": 3}, "cached_above_input"),
        ({"output_tokens": 5, "reasoning_tokens": 6}, "reasoning_above_output"),
        ({"duration_us": -1}, "negative"),
        ({"duration_us": 5, "ttft_us": 6}, "time_above_duration"),
        ({"cost_nusd": 5, "cost_source": "none"}, "cost_without_source"),
        ({"cost_source": "catalogue"}, "cost_without_source"),
        ({"output_tokens": 5, "usage_source": "none"}, "usage_without_source"),
    ],
)
def test_a_row_that_contradicts_itself_is_named(ledger: Ledger, make: Make, wrong: dict[str, Any], kind: str) -> None:
    record = make(**{"usage_source": "provider", **wrong})
    ledger.insert([make(), record])
    (finding,) = report(ledger).findings
    assert (finding.kind, finding.call_ids) == (kind, (record.call.call_id,))


def test_unknown_numbers_contradict_nothing(ledger: Ledger, make: Make) -> None:
    ledger.insert([make(cache_read_tokens=5, usage_source="partial"), make(reasoning_tokens=5, usage_source="partial")])
    assert report(ledger).balanced


@given(
    st.integers(1, 30),
    st.integers(0, 30),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: (min(pair), max(pair))), max_size=5),
)
def test_what_is_left_uncovered(first: int, length: int, covers: list[tuple[int, int]]) -> None:
    last = first + length
    left = {n for a, b in _uncovered(first, last, covers) for n in range(a, b + 1)}
    assert left == {n for n in range(first, last + 1) if not any(a <= n <= b for a, b in covers)}


def test_a_wrecked_ledger_is_told_in_one_page(ledger: Ledger, seed: Seed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.verify.MOST", 3)
    ledger.insert(seed(60))
    change(ledger, "UPDATE usage_hourly SET calls = calls + 1")
    found = report(ledger).findings
    assert [finding.kind for finding in found] == ["usage"] * 4
    assert (bool(found[2].call_ids), found[3].call_ids) == (True, ())
    assert "more than 3" in found[3].detail
