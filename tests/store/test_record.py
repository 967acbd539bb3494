"""The shared vocabulary: one name on all floors, one row of a call, one model name."""

from __future__ import annotations

import dataclasses

import pytest

from store.record import (
    CALL_FIELDS,
    COLUMNS,
    COST_FIELDS,
    READING_FIELDS,
    SEMCONV,
    Call,
    CallRecord,
    Cost,
    CostSource,
    Outcome,
    Reading,
    UsageSource,
    canonical_model,
)

OUTCOMES = (
    "ok upstream_error stream_error upstream_cut upstream_unreachable timeout "
    "client_closed rejected interrupted weir_fault"
)


def call(**more: object) -> Call:
    return Call("id", "boot", 1, 2, "POST", "/v1", **more)  # type: ignore[arg-type]


def test_the_words_are_the_documented_ones() -> None:
    assert [str(one) for one in Outcome] == OUTCOMES.split()
    assert [str(one) for one in UsageSource] == ["provider", "partial", "estimated", "none"]
    assert [str(one) for one in CostSource] == ["provider", "override", "catalogue", "none"]


def test_no_name_is_used_twice() -> None:
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert (*CALL_FIELDS, *READING_FIELDS, *COST_FIELDS, "model") == COLUMNS


def test_every_attribute_belongs_to_a_column() -> None:
    assert set(SEMCONV) <= set(COLUMNS)
    assert len(set(SEMCONV.values())) == len(SEMCONV)


def test_unknown_is_none_and_not_zero() -> None:
    """No number has a default but None: a 0 that nobody measured would end up in sums."""
    for part in (Reading(), Cost()):
        values = [getattr(part, field.name) for field in dataclasses.fields(part)]
        assert all(value is None or isinstance(value, str) for value in values)


def test_what_nobody_says_is_a_fault_of_ours_and_of_unknown_origin() -> None:
    assert (Reading().outcome, Reading().usage_source, Cost().cost_source) == ("weir_fault", "none", "none")
    assert (call().wire_format, call().session_source, call().key_id) == ("opaque", "none", "")


def test_a_row_has_each_column_in_order_and_each_value_from_its_part() -> None:
    one = call(project="p", tags={"a": "b"})
    reading = Reading(outcome=Outcome.OK, request_model="m", input_tokens=3)
    row = CallRecord(one, reading, Cost(cost_nusd=7)).row()
    assert tuple(row) == COLUMNS
    assert (row["call_id"], row["seq"], row["project"], row["tags"]) == ("id", 1, "p", {"a": "b"})
    assert (row["outcome"], row["input_tokens"], row["output_tokens"], row["cost_nusd"]) == ("ok", 3, None, 7)
    assert row["model"] == "m"


@pytest.mark.parametrize(
    ("requested", "answered", "wire_format", "model"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", "openai.chat", "gpt-4o"),
        (None, "llama", "ollama.chat", "llama"),
        ("", "llama", "ollama.chat", "llama"),
        ("mixtral", "not implmented", "openai.chat", "mixtral"),
        ("my-deployment", "gpt-4o", "azure.chat", "gpt-4o"),
        ("my-deployment", None, "azure.chat", "my-deployment"),
        (None, None, "opaque", ""),
        ("", "", "azure.chat", ""),
    ],
)
def test_the_one_model_name(requested: str | None, answered: str | None, wire_format: str, model: str) -> None:
    reading = Reading(request_model=requested, response_model=answered)
    assert canonical_model(reading, wire_format) == model
    assert CallRecord(call(wire_format=wire_format), reading, Cost()).model == model


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("as_read", [Outcome, str])
def test_ok_and_left_by_the_client_are_no_errors(outcome: Outcome, as_read: type[str]) -> None:
    """A journal gives plain strings back where the worker had the enumeration."""
    record = CallRecord(call(), Reading(outcome=as_read(outcome)), Cost())
    assert record.failed is (outcome not in (Outcome.OK, Outcome.CLIENT_CLOSED))


def test_parts_take_no_stray_names() -> None:
    for part in (call(), Reading(), Cost()):
        with pytest.raises(AttributeError):
            part.no_such_field = 1  # type: ignore[union-attr]
