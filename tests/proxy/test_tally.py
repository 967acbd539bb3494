"""Where counts come from."""

from __future__ import annotations

import pytest

from proxy.tally import tally, wants_estimate
from proxy.wire.facts import Facts
from store.record import Outcome, Reading

BOTH = {"prompt_tokens": 3, "completion_tokens": 4, "cost": 0.5}


@pytest.mark.parametrize(
    ("outcome", "finish_reason", "usage", "vectors", "source"),
    [
        (Outcome.OK, None, BOTH, False, "provider"),
        (Outcome.UPSTREAM_CUT, None, BOTH, False, "partial"),
        (Outcome.UPSTREAM_CUT, "stop", BOTH, False, "provider"),
        (Outcome.STREAM_ERROR, None, BOTH, False, "partial"),
        (Outcome.INTERRUPTED, None, BOTH, False, "partial"),
        (Outcome.OK, None, {"prompt_tokens": 3}, False, "partial"),
        (Outcome.OK, None, {"prompt_tokens": 3}, True, "provider"),
        (Outcome.OK, None, {"total_tokens": 3}, False, "partial"),
        (Outcome.OK, None, {"prompt_tokens": "x"}, False, "none"),
    ],
)
def test_a_providers_number_is_one_when_its_answer_was_whole(
    outcome: str, finish_reason: str | None, usage: dict[str, object], vectors: bool, source: str
) -> None:
    facts, reading = Facts(), Reading(outcome=outcome)
    facts.finish(finish_reason)
    tally(reading, usage, facts, vectors=vectors)
    assert reading.usage_source == source


def test_the_head_knows_the_cost_better_than_the_body() -> None:
    reading = Reading(outcome=Outcome.OK, reported_cost_nusd=7)
    tally(reading, BOTH, Facts(), vectors=False)
    assert reading.reported_cost_nusd == 7


def test_an_estimate_is_wanted_where_text_is_there_and_counts_are_not() -> None:
    silent, spoken = Facts(), Facts()
    spoken.say("Hi")
    ok = {"vectors": False, "asked": True}
    assert wants_estimate(Reading(), spoken, **ok)
    assert not wants_estimate(Reading(), silent, **ok)
    assert not wants_estimate(Reading(input_tokens=1, output_tokens=1), spoken, **ok)
    assert wants_estimate(Reading(output_tokens=1), silent, **ok)
    assert not wants_estimate(Reading(output_tokens=1), silent, vectors=False, asked=False)
    assert wants_estimate(Reading(outcome=Outcome.OK), silent, vectors=True, asked=True)
    assert not wants_estimate(Reading(outcome=Outcome.TIMEOUT), silent, vectors=True, asked=True)
