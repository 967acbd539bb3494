"""The token counts of one call, cut into parts that do not overlap, so that their sum is all tokens.

Used by prices and by metrics alike, which therefore agree. Pure. Provider-specific details are only looked at for
what a price book charges differently: cached writes of one hour, audio, images, web searches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


_PATHS: dict[str, tuple[tuple[str, str], ...]] = {
    "cache_write_1h_tokens": (("cache_creation", "ephemeral_1h_input_tokens"),),
    "web_searches": (("server_tool_use", "web_search_requests"),),
    "input_audio_tokens": (
        ("prompt_tokens_details", "audio_tokens"),
        ("input_tokens_details", "audio_tokens"),
        ("input_token_details", "audio_tokens"),
    ),
    "output_audio_tokens": (
        ("completion_tokens_details", "audio_tokens"),
        ("output_tokens_details", "audio_tokens"),
        ("output_token_details", "audio_tokens"),
    ),
    "output_image_tokens": (("output_tokens_details", "image_tokens"),),
}
"""Unit of the price book ← places in the provider's usage object (Anthropic; OpenAI chat, Responses, Realtime)."""

_MODALITIES = {
    "input_audio_tokens": ("promptTokensDetails", "AUDIO"),
    "input_image_tokens": ("promptTokensDetails", "IMAGE"),
    "input_video_tokens": ("promptTokensDetails", "VIDEO"),
    "output_audio_tokens": ("candidatesTokensDetails", "AUDIO"),
    "output_image_tokens": ("candidatesTokensDetails", "IMAGE"),
    "cache_audio_read_tokens": ("cacheTokensDetails", "AUDIO"),
    "cache_image_read_tokens": ("cacheTokensDetails", "IMAGE"),
}
"""The same for Gemini's lists of `{modality, tokenCount}`."""

UNITS = frozenset(_PATHS.keys() | _MODALITIES.keys())
"""The units that `unit_details` can find."""


def unit_details(usage: Mapping[str, Any] | None, units: Iterable[str] = UNITS) -> dict[str, int]:
    """What a provider's usage object says of these units, by the names of genai-prices; positive only."""
    found: dict[str, int] = {}
    for unit in units if usage else ():
        for count in (*_by_path(usage or {}, unit), *_by_modality(usage or {}, unit)):
            if type(count) is int and 0 < count < 1 << 53:
                found.setdefault(unit, count)
    return found


def _by_path(usage: Mapping[str, Any], unit: str) -> list[Any]:
    places = [(usage.get(outer), inner) for outer, inner in _PATHS.get(unit, ())]
    return [place.get(inner) for place, inner in places if isinstance(place, dict)]


def _by_modality(usage: Mapping[str, Any], unit: str) -> list[Any]:
    key, modality = _MODALITIES.get(unit, ("", ""))
    entries = usage.get(key)
    if not isinstance(entries, list):
        return []
    return [
        entry.get("tokenCount") for entry in entries if isinstance(entry, dict) and entry.get("modality") == modality
    ]
