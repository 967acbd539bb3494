"""Filling a reading's gaps."""

from __future__ import annotations

import pytest

from proxy.estimates import Estimate, apply_estimate
from store.record import Reading, UsageSource
from tests.proxy.metering import counts


@pytest.mark.parametrize(
    ("known", "estimated", "after", "source"),
    [
        ((None, None), (5, 7), (5, 7, 12), "estimated"),
        ((3, None), (5, 7), (3, 7, 10), "partial"),
        ((None, 4), (5, 7), (5, 4, 9), "partial"),
        ((None, None), (None, 7), (None, 7, None), "estimated"),
        ((None, None), (None, None), (None, None, None), "none"),
        ((3, 4), (5, 7), (3, 4, None), "none"),
    ],
)
def test_what_the_provider_said_stays(
    known: tuple[int | None, int | None], estimated: tuple[int | None, int | None], after: object, source: str
) -> None:
    reading = Reading(input_tokens=known[0], output_tokens=known[1])
    apply_estimate(reading, Estimate(*estimated, "cl100k_base"))
    assert (counts(reading), reading.usage_source) == (after, source)
    assert (reading.estimator == "cl100k_base") == (source != UsageSource.NONE)
