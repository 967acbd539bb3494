"""The question and the answer of an estimate, as plain values: the meter asks, `tokens` counts in a thread.

Kept apart from both, so that the meter stays pure and knows no tokenizer.
"""

from __future__ import annotations

from typing import NamedTuple

from proxy.wire.request import Prompt
from store.record import Reading, UsageSource


class EstimateJob(NamedTuple):
    """All that counting needs."""

    model: str
    mode: str
    """`chat` (with the tokens that a chat's form costs) or `text` (its text alone, as LLMstudio counts)."""
    asked: bytes | Prompt | None
    """The decoded request, or the text found in a large one, where the input has to be counted."""
    output: str | None
    """The answer's text, where the output has to be counted."""


class Estimate(NamedTuple):
    """What counting gave; None is what was not asked for or could not be counted."""

    input_tokens: int | None
    output_tokens: int | None
    estimator: str
    """The vocabulary it was counted with."""


def apply_estimate(reading: Reading, estimate: Estimate) -> None:
    """Fill a reading's gaps with counts of our own; what the provider said stays, and makes the whole `partial`."""
    before = (reading.input_tokens, reading.output_tokens)
    if reading.input_tokens is None:
        reading.input_tokens = estimate.input_tokens
    if reading.output_tokens is None:
        reading.output_tokens = estimate.output_tokens
    if (reading.input_tokens, reading.output_tokens) == before:
        return
    if reading.input_tokens is not None and reading.output_tokens is not None:
        reading.total_tokens = reading.input_tokens + reading.output_tokens
    reading.usage_source = UsageSource.ESTIMATED if before == (None, None) else UsageSource.PARTIAL
    reading.estimator = estimate.estimator
