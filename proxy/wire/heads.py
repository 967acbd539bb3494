"""What the answer's head says beside the body: type and coding, the id for a support ticket, credits, cost, counts."""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

from proxy.wire.usage import nano_dollars

_MAX_VALUE = 256
_IDS = (
    b"x-request-id",
    b"request-id",
    b"apim-request-id",
    b"x-amzn-requestid",
    b"x-generation-id",
    b"mistral-correlation-id",
    b"cf-ray",
)
"""The provider's id of the exchange, the most telling first."""
_COUNTS = {
    b"x-amzn-bedrock-input-token-count": "inputTokenCount",
    b"x-amzn-bedrock-output-token-count": "outputTokenCount",
    b"x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokenCount",
    b"x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokenCount",
    b"x-prompt-tokens": "prompt_tokens",
    b"x-generated-tokens": "completion_tokens",
    b"fireworks-prompt-tokens": "prompt_tokens",
    b"fireworks-generated-tokens": "completion_tokens",
    b"fireworks-cached-prompt-tokens": "cached_tokens",
}
"""Bedrock InvokeModel, TGI, Fireworks: counts in the head, used when the body has none."""
_WANTED = frozenset(
    {b"content-type", b"content-encoding", b"content-length", b"x-remaining-credits", b"x-cost", *_IDS, *_COUNTS}
)


class Heads(NamedTuple):
    """The head of one answer, as far as the meter cares."""

    content_type: str = ""
    content_encoding: str = ""
    sized: bool = False
    """The head says how long the body is, so it is no stream."""
    request_id: str | None = None
    credits: float | None = None
    cost_nusd: int | None = None
    usage: dict[str, int] | None = None


def read_heads(headers: list[tuple[bytes, bytes]]) -> Heads:
    """Read a head, names in any case. Nothing raises."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        name = name.lower()
        if name in _WANTED:
            found[name] = found[name] + b"," + value if name in found else value
    get = found.get
    return Heads(
        _text(get(b"content-type")),
        _text(get(b"content-encoding")),
        b"content-length" in found,
        next((_text(found[name]) for name in _IDS if name in found), None),
        _credits(get(b"x-remaining-credits")),
        nano_dollars(_text(found[b"x-cost"])) if b"x-cost" in found else None,
        _usage(found),
    )


def _text(value: bytes | None) -> str:
    return value.decode("latin-1").strip()[:_MAX_VALUE] if value else ""


def _credits(value: bytes | None) -> float | None:
    try:
        number = float(value) if value else None
    except ValueError:
        return None
    return number if number is not None and isfinite(number) else None


def _usage(found: dict[bytes, bytes]) -> dict[str, int] | None:
    if _COUNTS.keys().isdisjoint(found):
        return None
    usage: dict[str, int] = {}
    for name, key in _COUNTS.items():
        value = found.get(name, b"")
        if value.isdigit() and len(value) < 16:
            usage[key] = int(value)
    return usage or None
