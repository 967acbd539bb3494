"""The token counts of one call, cut into parts that do not overlap, so that their sum is all tokens.

Used by prices and by metrics alike, which therefore agree. Pure. Provider-specific details are only looked at for
what a price book charges differently: cached writes of one hour, audio, images, web searches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from store.record import Reading


class TokenParts(NamedTuple):
    """Five counts whose sum is input plus output; the names are the `type` label of `weir_tokens_total`."""

    input_uncached: int
    input_cache_read: int
    input_cache_write: int
    output_response: int
    output_reasoning: int


def token_parts(reading: Reading) -> TokenParts | None:
    """The parts, each clamped to what is left of its total; None when neither input nor output is known.

    Some providers report more cached than input tokens (xAI does); totals are the firmer numbers.
    """
    if reading.input_tokens is None and reading.output_tokens is None:
        return None
    total_in = max(reading.input_tokens or 0, 0)
    total_out = max(reading.output_tokens or 0, 0)
    read = min(max(reading.cache_read_tokens or 0, 0), total_in)
    write = min(max(reading.cache_write_tokens or 0, 0), total_in - read)
    reasoning = min(max(reading.reasoning_tokens or 0, 0), total_out)
    return TokenParts(total_in - read - write, read, write, total_out - reasoning, reasoning)


_PATHS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("cache_write_1h_tokens", ("cache_creation", "ephemeral_1h_input_tokens")),
    ("web_searches", ("server_tool_use", "web_search_requests")),
    ("input_audio_tokens", ("prompt_tokens_details", "audio_tokens")),
    ("input_audio_tokens", ("input_tokens_details", "audio_tokens")),
    ("input_audio_tokens", ("input_token_details", "audio_tokens")),
    ("output_audio_tokens", ("completion_tokens_details", "audio_tokens")),
    ("output_audio_tokens", ("output_tokens_details", "audio_tokens")),
    ("output_audio_tokens", ("output_token_details", "audio_tokens")),
    ("output_image_tokens", ("output_tokens_details", "image_tokens")),
)
"""Unit of the price book ← place in the provider's usage object (Anthropic; OpenAI chat, Responses, Realtime)."""

_MODALITIES = {
    "promptTokensDetails": {
        "AUDIO": "input_audio_tokens",
        "IMAGE": "input_image_tokens",
        "VIDEO": "input_video_tokens",
    },
    "candidatesTokensDetails": {"AUDIO": "output_audio_tokens", "IMAGE": "output_image_tokens"},
    "cacheTokensDetails": {"AUDIO": "cache_audio_read_tokens", "IMAGE": "cache_image_read_tokens"},
}
"""Gemini's lists of `{modality, tokenCount}`."""


def unit_details(usage: Mapping[str, Any] | None) -> dict[str, int]:
    """What a provider's usage object says beyond the five parts, by the unit names of genai-prices; positive only."""
    if not usage:
        return {}
    found: dict[str, int] = {}
    for unit, count in (*_by_path(usage), *_by_modality(usage)):
        if isinstance(count, int) and not isinstance(count, bool) and 0 < count < 1 << 53:
            found.setdefault(unit, count)
    return found


def _by_path(usage: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for unit, (outer, inner) in _PATHS:
        place = usage.get(outer)
        if isinstance(place, dict):
            yield unit, place.get(inner)


def _by_modality(usage: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, units in _MODALITIES.items():
        entries = usage.get(key)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and (unit := units.get(str(entry.get("modality")))):
                yield unit, entry.get("tokenCount")
