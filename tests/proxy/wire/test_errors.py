"""The classifier of errors: few reasons out of many spellings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from proxy.wire.errors import KNOWN, OTHER, fail, note, reason_of
from proxy.wire.facts import Facts
from tests.proxy.metering import events, read, said


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"type": "invalid_request_error", "code": "model_not_found", "message": "…"}, "model_not_found"),
        ({"type": "insufficient_quota", "code": "insufficient_quota"}, "insufficient_quota"),
        ({"type": "tokens", "code": "rate_limit_exceeded"}, "rate_limit_exceeded"),
        ({"type": "invalid_request_error", "code": None}, "invalid_request_error"),
        ({"type": "overloaded_error"}, "overloaded_error"),
        ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, "resource_exhausted"),
        ({"code": 502, "message": "…"}, "http_502"),
        ({"code": "503"}, "http_503"),
        ({"type": "BadRequestError", "code": 400}, "bad_request_error"),
        ({"type": "throttlingException"}, "throttling_exception"),
        ({"type": "a tenant's own words"}, OTHER),
        ({"code": 7}, OTHER),
        ("overloaded, my key is sk-secret", OTHER),
        (["x"], OTHER),
        (True, OTHER),
    ],
)
def test_reasons_are_few(error: Any, reason: str) -> None:
    assert reason_of(error) == reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda v: st.lists(v) | st.dictionaries(st.sampled_from(["code", "type", "status", "message", "error"]), v),
    max_leaves=5,
)


@given(error=json_values)
def test_every_reason_is_from_a_bounded_set(error: Any) -> None:
    reason = reason_of(error)
    assert reason == OTHER or reason in KNOWN or (reason.startswith("http_") and 400 <= int(reason[5:]) <= 599)


@pytest.mark.parametrize(
    "event",
    [
        {"error": {"type": "server_error"}},
        {"error": "boom"},
        {"type": "error", "code": "server_error"},
        {"object": "error", "type": "BadRequestError"},
        {"code": "x", "error": "a string, as at xAI"},
    ],
)
def test_events_that_are_errors(event: dict[str, Any]) -> None:
    facts = Facts()
    note(event, facts)
    assert facts.error_type is not None
    assert facts.terminal


@pytest.mark.parametrize("event", [{}, {"error": None}, {"error": False}, {"error": ""}, {"type": "x"}, {"error": {}}])
def test_events_that_are_not(event: dict[str, Any]) -> None:
    facts = Facts()
    note(event, facts)
    assert facts.error_type is None


def test_the_first_reason_that_says_anything_is_kept() -> None:
    facts = Facts()
    for error in ("?", {"code": "server_error"}, {"code": "rate_limit_exceeded"}):
        fail(facts, error)
    assert facts.error_type == "server_error"


@pytest.mark.parametrize("data", ["overloaded", '{"message":"x"}', '{"error":{"type":"other thing"}}', "[1]"])
def test_an_event_named_error_is_one_whatever_it_holds(data: str) -> None:
    found = read(events(said("a"), end=b"") + f"event: error\ndata: {data}\n\n".encode())
    assert (found.outcome, found.error_type) == ("stream_error", OTHER)


def test_vllms_error_before_done() -> None:
    found = read(events(said("a"), {"error": {"message": "…", "type": "InternalServerError", "code": 500}}))
    assert (found.outcome, found.error_type) == ("stream_error", "internal_server_error")
