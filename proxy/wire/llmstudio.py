"""LLMstudio's engine: 1.0 streams concatenated chat chunks with `metrics`, 0.3 bare text, both answer whole as JSON.

Its `usage` is the provider's where it is not null; `metrics` are its own counts and come second.
"""

from __future__ import annotations

import re
from typing import Any

from proxy.wire.facts import Facts
from proxy.wire.openai_chat import read as read_chat

END = "<END_TOKEN>"
"""What 0.3.1 and older put before the metrics, at the end of the text."""
_PAIR = re.compile(r"\b(input_tokens|output_tokens|total_tokens)=(\d{1,15})\b")
_COUNTS = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")


def read(event: dict[str, Any], facts: Facts) -> bool:
    """Fold one object; True when it carries content."""
    content = read_chat(event, facts)
    metrics = event.get("metrics")
    if type(metrics) is dict:
        facts.spare_usage = {key: metrics[key] for key in _COUNTS if metrics.get(key) is not None}
        facts.terminal = True
    return content


def trailer(text: str, facts: Facts) -> str:
    """The text without the old engine's trailer, whose counts are noted."""
    text, found, metrics = text.partition(END)
    counts = {name: int(digits) for name, digits in _PAIR.findall(metrics)} if found else {}
    if counts:
        facts.count(counts)
        facts.terminal = True
    return text
