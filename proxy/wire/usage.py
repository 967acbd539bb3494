"""Usage as providers report it → counts that mean the same everywhere (OpenTelemetry's meaning).

Input includes what was read from and written to a cache, output includes reasoning. Providers differ, so each
difference is one named rule; the rules that fired are kept beside the counts, and the raw object too, so that a
mistake here can be mended later. Repeated usage is merged before it comes here, never summed.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import orjson

MAX_COUNT = 1 << 53
"""Beyond this JSON numbers are not exact, and no call has so many tokens."""
MAX_RAW = 16 << 10
MAX_NAME = 64
_MAX_DOLLARS = 1e6

_NUSD = 1_000_000_000


class Counts:
    """The reconciled counts of one call; None is not reported."""

    __slots__ = ("cache_read", "cache_write", "input", "output", "reasoning", "refused", "rules", "total")

    def __init__(self) -> None:
        self.input: int | None = None
        self.output: int | None = None
        self.cache_read: int | None = None
        self.cache_write: int | None = None
        self.reasoning: int | None = None
        self.total: int | None = None
        self.rules: list[str] = []
        self.refused = False
        """Some field held what is no count (rule R0)."""

    def take(self, usage: dict[str, Any], *keys: str) -> int | None:
        """The first of these fields that holds a count."""
        for key in keys:
            value = usage.get(key)
            if value is not None:
                if type(value) is int and 0 <= value <= MAX_COUNT:
                    return value
                number = count_of(value)
                if number is not None:
                    return number
                self.refused = True
        return None


def count_of(value: Any) -> int | None:
    """R0: a non-negative integer, also as an integral float (Cohere sends 6.0). Anything else is no count."""
    if type(value) is float:
        if not isfinite(value) or not value.is_integer():
            return None
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        return None
    return value


def reconcile(usage: dict[str, Any], *, embeddings: bool = False) -> Counts:
    """Read a usage object of any provider by its shape, then apply R1 to R5."""
    counts = Counts()
    if _usual(usage, counts):
        return counts
    _shape(usage)(usage, counts)
    if not embeddings:
        _derive_output(counts)
    _clamp(counts)
    if counts.total is None and counts.input is not None:
        counts.total = counts.input + (counts.output or 0) if counts.output is not None or embeddings else None
    return counts


def _usual(usage: dict[str, Any], counts: Counts) -> bool:
    """OpenAI's own object in which no rule can fire: read directly, at a third of the cost. False: not such a one.

    A test holds this against the rules for any such object.
    """
    if not usage.keys() <= _USUAL:
        return False
    given, output, total = usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("total_tokens")
    if not type(given) is type(output) is type(total) is int:
        return False
    inner, outer = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    if type(inner) is not dict or type(outer) is not dict:
        return False
    cached, written = inner.get("cached_tokens"), inner.get("cache_write_tokens")
    reasoning = outer.get("reasoning_tokens")
    for part in (cached, written, reasoning):
        if part is not None and not (type(part) is int and part >= 0):
            return False
    whole = given >= (cached or 0) + (written or 0) and output >= (reasoning or 0)
    if not whole or total != given + output or not 0 <= total <= MAX_COUNT or "thinking_tokens" in outer:
        return False
    counts.input, counts.output, counts.total = given, output, total
    counts.cache_read, counts.cache_write, counts.reasoning = cached, written, reasoning
    return True


_USUAL = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)


def _shape(usage: dict[str, Any]) -> Callable[[dict[str, Any], Counts], None]:
    if "prompt_tokens" in usage or "input_tokens" in usage:
        return _openai  # nearly all
    for marks, reader in _SHAPES:
        if not marks.isdisjoint(usage):
            return reader
    return _openai


def _openai(usage: dict[str, Any], counts: Counts) -> None:
    """OpenAI's two spellings, all that copy them, and Anthropic (told by its cache fields)."""
    take = counts.take
    given = take(usage, "prompt_tokens", "input_tokens")
    counts.output = take(usage, "completion_tokens", "output_tokens", "total_output_tokens")
    counts.total = take(usage, "total_tokens")
    inner = _details(usage, _INPUT_DETAILS)
    if inner is not None:
        counts.cache_read = take(inner, "cached_tokens")
        counts.cache_write = take(inner, "cache_write_tokens")
    if counts.cache_read is None:
        counts.cache_read = take(usage, *_CACHED)
    if counts.cache_write is None:
        counts.cache_write = take(usage, "cache_creation_input_tokens", "cache_write_tokens")
    outer = _details(usage, _OUTPUT_DETAILS)
    if outer is not None:
        counts.reasoning = take(outer, "reasoning_tokens", "thinking_tokens")
    if counts.reasoning is None:
        counts.reasoning = take(usage, "reasoning_tokens", "reasoning_output_tokens")
    counts.input = given
    if given is not None:
        if counts.cache_read or counts.cache_write:
            _include_cache(usage, given, counts)
        if counts.output is not None:
            _include_reasoning(counts, given, outside="cost_in_usd_ticks" in usage)


_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "prompt_token_details", "input_token_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_CACHED = (
    "cached_tokens",
    "prompt_cache_hit_tokens",
    "num_cached_tokens",
    "cached_prompt_text_tokens",
    "cache_read_input_tokens",
)
"""R4: Moonshot and Cohere, DeepSeek, Mistral, old xAI, Anthropic and Databricks, in this order."""


def _details(usage: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any] | None:
    for key in keys:
        value = usage.get(key)
        if type(value) is dict:
            return value
    return None


def _include_cache(usage: dict[str, Any], given: int, counts: Counts) -> None:
    """R1: Anthropic's input leaves the cache out. R2: xAI was seen to report more cached than prompt."""
    cached, written = counts.cache_read or 0, counts.cache_write or 0
    separate = "prompt_tokens" not in usage and (
        "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage
    )
    if separate and (cached or written):
        counts.input = given + cached + written
        counts.rules.append("cache_added")
    elif cached > given:
        counts.input = given + cached
        counts.rules.append("cached_outside_prompt")


def _include_reasoning(counts: Counts, given: int | None, *, outside: bool, tool: int = 0) -> None:
    """R3: whether reasoning lies inside the output is told by the total; without one, by who says it."""
    output, reasoning, total = counts.output, counts.reasoning, counts.total
    if given is None or output is None:
        return
    if total is None:
        if outside and reasoning:
            _add_reasoning(counts)
        return
    extra = total - given - output
    if not reasoning:
        if extra and extra != tool and total != (counts.input or 0) + output:
            counts.rules.append("total_mismatch")
    elif extra in (reasoning, reasoning + tool) and extra:
        _add_reasoning(counts)
    elif extra not in (0, tool):
        counts.rules.append("total_mismatch")
        if outside:
            _add_reasoning(counts)


def _add_reasoning(counts: Counts) -> None:
    counts.output = (counts.output or 0) + (counts.reasoning or 0)
    counts.rules.append("reasoning_added")


def _gemini(usage: dict[str, Any], counts: Counts) -> None:
    """Thoughts and the prompt of tool use stand beside candidates and prompt; the total includes all four."""
    take = counts.take
    given = take(usage, "promptTokenCount")
    tool = take(usage, "toolUsePromptTokenCount") or 0
    counts.output = take(usage, "candidatesTokenCount", "responseTokenCount")
    counts.reasoning = take(usage, "thoughtsTokenCount")
    counts.total = take(usage, "totalTokenCount")
    counts.cache_read = take(usage, "cachedContentTokenCount")
    counts.input = given
    if counts.output is None and counts.reasoning is not None:
        counts.output = 0  # protobuf leaves a zero out
    _include_reasoning(counts, given, outside=True, tool=tool)
    if given is not None and tool and (counts.total is None or counts.total >= given + tool + (counts.output or 0)):
        counts.input = given + tool
        counts.rules.append("tool_prompt_added")


def _bedrock(usage: dict[str, Any], counts: Counts) -> None:
    """Converse and invocationMetrics; like Anthropic, the cache stands beside the input (R1)."""
    take = counts.take
    given = take(usage, "inputTokens", "inputTokenCount", "inputTextTokenCount")
    counts.output = take(usage, "outputTokens", "outputTokenCount")
    counts.total = take(usage, "totalTokens")
    counts.cache_read = take(usage, "cacheReadInputTokens", "cacheReadInputTokenCount")
    counts.cache_write = take(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    counts.input = given
    beside = (counts.cache_read or 0) + (counts.cache_write or 0)
    if given is not None and beside:
        counts.input = given + beside
        counts.rules.append("cache_added")


def _ollama(usage: dict[str, Any], counts: Counts) -> None:
    counts.input = counts.take(usage, "prompt_eval_count")
    counts.output = counts.take(usage, "eval_count")


def _timings(usage: dict[str, Any], counts: Counts) -> None:
    """llama.cpp: `prompt_n` leaves the cached part out."""
    counts.cache_read = counts.take(usage, "cache_n")
    counts.input = counts.take(usage, "prompt_n")
    counts.output = counts.take(usage, "predicted_n")
    if counts.input is not None and counts.cache_read:
        counts.input += counts.cache_read
        counts.rules.append("cache_added")


def _native(usage: dict[str, Any], counts: Counts) -> None:
    """llama.cpp's own `/completion`; TGI's `details`; LM Studio's and Gemini Interactions' totals."""
    take = counts.take
    counts.input = take(usage, "tokens_evaluated", "input_length", "total_input_tokens")
    counts.output = take(usage, "tokens_predicted", "generated_tokens", "total_output_tokens")
    counts.cache_read = take(usage, "total_cached_tokens")
    counts.reasoning = take(usage, "reasoning_output_tokens", "total_thought_tokens")
    counts.total = take(usage, "total_tokens")
    _include_reasoning(counts, counts.input, outside="total_thought_tokens" in usage)


def _cohere(usage: dict[str, Any], counts: Counts) -> None:
    """`billed_units` is what is charged; `tokens` adds Cohere's own preamble."""
    billed = _details(usage, ("billed_units", "tokens"))
    if billed:
        counts.input = counts.take(billed, "input_tokens")
        counts.output = counts.take(billed, "output_tokens")
    counts.cache_read = counts.take(usage, "cached_tokens")


_SHAPES: tuple[tuple[frozenset[str], Callable[[dict[str, Any], Counts], None]], ...] = (
    (frozenset({"promptTokenCount", "candidatesTokenCount", "totalTokenCount", "responseTokenCount"}), _gemini),
    (frozenset({"inputTokens", "outputTokens", "inputTokenCount", "outputTokenCount"}), _bedrock),
    (frozenset({"inputTextTokenCount"}), _bedrock),
    (frozenset({"prompt_eval_count", "eval_count"}), _ollama),
    (frozenset({"prompt_n", "predicted_n"}), _timings),
    (frozenset({"billed_units"}), _cohere),
    (frozenset({"tokens_evaluated", "tokens_predicted", "generated_tokens", "total_input_tokens"}), _native),
)


def _derive_output(counts: Counts) -> None:
    """Input and total but no output: a zero that was left out, or the difference."""
    if counts.refused or counts.output is not None or counts.input is None or counts.total is None:
        return
    if counts.total >= counts.input:
        counts.output = counts.total - counts.input
        counts.rules.append("output_from_total")


def _clamp(counts: Counts) -> None:
    """R5: no part is larger than its whole; the price book refuses such usage."""
    whole, read, write = counts.input, counts.cache_read, counts.cache_write
    if whole is not None and (read or 0) + (write or 0) > whole:
        if read is not None and read > whole:
            counts.cache_read = read = whole
        if write is not None:
            counts.cache_write = min(write, whole - (read or 0))
        counts.rules.append("cache_clamped")
    if counts.reasoning is not None and counts.output is not None and counts.reasoning > counts.output:
        counts.reasoning = counts.output
        counts.rules.append("reasoning_clamped")


def charged(usage: dict[str, Any]) -> int | None:
    """What the provider says the call cost, in nano-dollars."""
    cost = usage.get("cost")
    if type(cost) is dict:
        cost = cost.get("total_cost")  # Perplexity
    ticks = usage.get("cost_in_usd_ticks")
    if cost is None and (type(ticks) is int or type(ticks) is float):
        cost = ticks / 1e10  # xAI: ten thousand million ticks are one dollar
    if cost is None:
        cost = usage.get("estimated_cost")  # DeepInfra, Hugging Face's router
    return nano_dollars(cost)


def nano_dollars(dollars: Any) -> int | None:
    """Dollars as a JSON number or a header's text → integer nano-dollars; None for what is no amount."""
    if type(dollars) is str:
        try:
            dollars = float(dollars)
        except ValueError:
            return None
    if (type(dollars) is int or type(dollars) is float) and 0 <= dollars < _MAX_DOLLARS:
        return round(dollars * _NUSD)
    return None


def kept(usage: dict[str, Any]) -> dict[str, Any] | None:
    """The provider's object as it may be stored: numbers and short names only, at most 16 KiB."""
    if _is_clean(usage):
        return usage
    clean = _clean(usage, 4)
    return clean if clean and len(orjson.dumps(clean)) <= MAX_RAW else None


def _is_clean(usage: dict[str, Any]) -> bool:
    """The common case at a fifth of the cost: short, and as JSON without strings (and null, which is also NaN)."""
    try:
        dumped = orjson.dumps(usage)
    except TypeError:
        return False  # an integer beyond 64 bits
    return len(dumped) <= 1024 and b':"' not in dumped and b'["' not in dumped and b"null" not in dumped


def _clean(value: dict[str, Any], depth: int) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for key, inner in value.items():
        kind = type(inner)
        if len(key) > MAX_NAME:
            continue
        if kind is dict:
            if depth:
                clean[key] = _clean(inner, depth - 1)
        elif kind is list:
            if depth:
                clean[key] = [_clean(entry, depth - 1) for entry in inner[:32] if type(entry) is dict]
        elif (kind is int and -MAX_COUNT <= inner <= MAX_COUNT) or _storable(inner):
            clean[key] = inner
    return clean


def _storable(value: Any) -> bool:
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 63
    if type(value) is float:
        return isfinite(value)
    return value is None or type(value) is bool or (type(value) is str and len(value) <= MAX_NAME)
