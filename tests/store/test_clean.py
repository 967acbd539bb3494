"""What goes in is what both databases can hold."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given, strategies as st

from store.clean import JSON_LIMIT, LIMIT, LIMITS, MOST, clean_json, clean_text, rows_of
from store.record import COLUMNS, CallRecord, Outcome
from tests.store.conftest import START, Make

UUID = "01890a5d-ac96-774b-bcce-b302099a8057"
TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def row_of(record: CallRecord) -> dict[str, Any]:
    """The one clean row of `record`, by name."""
    return dict(zip(COLUMNS, rows_of([record])[0], strict=True))


@given(TEXT, st.integers(1, 30))
def test_clean_text_is_utf8_without_nul_and_not_too_long(text: str, limit: int) -> None:
    clean = clean_text(text, limit)
    assert clean.encode().decode() == clean
    assert "\0" not in clean
    assert len(clean) == min(len(text), limit)
    assert clean_text(clean, limit) == clean


@given(JSON)
def test_clean_json_is_json_that_postgresql_takes(value: Any) -> None:
    text = clean_json(value)
    assert text is not None
    loaded = orjson.loads(text)
    assert "\0" not in json.dumps(loaded, ensure_ascii=False)
    assert clean_json(loaded) == text


def test_clean_json_has_a_bound() -> None:
    assert clean_json({"a": "x" * JSON_LIMIT}) is None
    assert clean_json({"a": "\0" * (JSON_LIMIT // 8)}) == json.dumps(
        {"a": "�" * (JSON_LIMIT // 8)}, ensure_ascii=False
    ).replace(" ", "")
    assert clean_json({"a": object()}) is None


def test_clean_json_survives_any_depth() -> None:
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    text = clean_json(deep)
    assert text is not None
    assert len(text) < 100


def test_a_clean_record_is_passed_as_it_is(make: Make) -> None:
    record = make(call_id=UUID, tags={"a": "b"}, http_status=200, credits_remaining=1.5, stream=False)
    assert row_of(record) == record.row() | {"tags": '{"a":"b"}'}


def test_records_themselves_are_not_changed(make: Make) -> None:
    record = make(project="a\0b", http_status=10**9)
    rows_of([record])
    assert (record.call.project, record.reading.http_status) == ("a\0b", 10**9)


@pytest.mark.parametrize(("name", "limit"), [*LIMITS.items(), ("error_type", LIMIT), ("finish_reason", LIMIT)])
def test_text_is_cut_to_its_documented_length(make: Make, name: str, limit: int) -> None:
    assert row_of(make(**{name: "é" * (limit + 1)}))[name] == "é" * limit


@pytest.mark.parametrize(("name", "most"), MOST.items())
def test_numbers_beyond_belief_are_not_known(make: Make, name: str, most: int) -> None:
    assert row_of(make(**{name: most}))[name] == most
    assert row_of(make(**{name: most + 1}))[name] is None
    assert row_of(make(**{name: -most - 1}))[name] is None


@pytest.mark.parametrize("value", [2**63, -(2**64), math.nan, math.inf, 1.5, "12", [1]])
def test_what_is_no_whole_number_of_64_bits_is_not_known(make: Make, value: Any) -> None:
    assert row_of(make(chunks=value))["chunks"] is None


def test_whole_floats_and_truth_values_are_numbers(make: Make) -> None:
    assert row_of(make(chunks=3.0))["chunks"] == 3
    assert row_of(make(credits_remaining=math.nan))["credits_remaining"] is None
    assert row_of(make(credits_remaining=2))["credits_remaining"] == 2.0


def test_names_of_outcomes_become_plain_text(make: Make) -> None:
    outcome = row_of(make(outcome=Outcome.TIMEOUT))["outcome"]
    assert (outcome, type(outcome)) == ("timeout", str)


def test_text_that_is_none_or_no_text(make: Make) -> None:
    row = row_of(make(project=None, error_type=None, finish_reason=7, request_model=["x"]))
    assert (row["project"], row["error_type"], row["finish_reason"]) == ("", None, "7")
    assert row["request_model"] == row["model"] == "['x']"


@pytest.mark.parametrize(
    "bad",
    [
        *({"call_id": "no"}, {"call_id": None}, {"seq": None}, {"seq": 2**63}),
        *({"started_at": None}, {"started_at": -1}, {"started_at": 10**18}),
    ],
)
def test_a_record_without_id_number_or_time_is_no_row(make: Make, bad: dict[str, Any]) -> None:
    rows = rows_of([make(), make(**{"seq": 7, **bad}) if "seq" not in bad else _with(make(), bad), make(seq=9)])
    assert [bool(row) for row in rows] == [True, False, True]


def _with(record: CallRecord, values: dict[str, Any]) -> CallRecord:
    for name, value in values.items():
        setattr(record.call, name, value)
    return record


def test_a_call_id_is_written_in_one_way(make: Make) -> None:
    assert row_of(make(call_id=UUID.upper()))["call_id"] == UUID
    assert row_of(make(call_id=UUID.replace("-", "")))["call_id"] == UUID


def test_no_records_are_no_rows() -> None:
    assert rows_of([]) == []


def test_cleaning_is_column_wise_but_rows_stay_together(make: Make) -> None:
    records = [make(project=f"p{n}" if n % 2 else "p\0", started_at=START + n) for n in range(20)]
    found = [(row[COLUMNS.index("started_at")], row[COLUMNS.index("project")]) for row in rows_of(records)]
    assert found == [(START + n, f"p{n}" if n % 2 else "p�") for n in range(20)]


def test_a_cost_that_is_not_known_has_no_source(make: Make) -> None:
    rows = rows_of([make(cost_nusd=10**14, cost_source="provider"), make(cost_nusd=5, cost_source="override")])
    at = COLUMNS.index("cost_nusd")
    assert [row[at : at + 2] for row in rows] == [(None, "none"), (5, "override")]
