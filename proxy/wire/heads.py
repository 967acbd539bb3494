"""What the answer's head says beside the body: type and coding, the id for a support ticket, credits, cost, counts."""

from __future__ import annotations

from math import isfinite
from typing import Any, NamedTuple

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
_RARE = frozenset({b"x-remaining-credits", b"x-cost", *_COUNTS})
_WANTED = frozenset({b"content-type", b"content-encoding", b"content-length", *_IDS, *_RARE})
_KNOWN: dict[bytes, bytes] = {}
_TYPES: dict[bytes, str] = {}
_ID_NAMES = frozenset(_IDS)
_MAX_KNOWN, _MAX_TYPES, _MAX_NAME = 4096, 64, 64
"""Bounds of those memories: real answers have some hundred names and a handful of types, all short."""


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
    found = {lower: value for name, value in headers if (lower := _KNOWN.get(name) or _wanted(name)) != b"-"}
    kind = found.get(b"content-type")
    heads = Heads(
        _TYPES.get(kind) or _type(kind) if kind else "",
        _codings(headers) if b"content-encoding" in found else "",
        b"content-length" in found,
        None if _ID_NAMES.isdisjoint(found) else _request_id(found),
    )
    return heads if _RARE.isdisjoint(found) else heads._replace(**_read_rare(found))


def _type(value: bytes) -> str:
    """A content type as text, remembered: servers have one or two."""
    text = _text(value)
    if len(_TYPES) < _MAX_TYPES and len(value) <= _MAX_NAME:
        _TYPES[value] = text
    return text


def _wanted(name: bytes) -> bytes:
    """The lower-case name of a header that is read, `-` of any other; remembered by the name as sent."""
    lower = name.lower()
    wanted = lower if lower in _WANTED else b"-"
    if len(name) <= _MAX_NAME and len(_KNOWN) < _MAX_KNOWN:
        _KNOWN[name] = wanted
    return wanted


def _codings(headers: list[tuple[bytes, bytes]]) -> str:
    """All lines of it: two of them are one chain."""
    return _text(b",".join(value for name, value in headers if name.lower() == b"content-encoding"))


def _request_id(found: dict[bytes, bytes]) -> str | None:
    for name in _IDS:
        if name in found:
            return _text(found[name]) or None
    return None


def _read_rare(found: dict[bytes, bytes]) -> dict[str, Any]:
    cost = _text(found.get(b"x-cost"))
    return {
        "credits": _credits(found.get(b"x-remaining-credits")),
        "cost_nusd": nano_dollars(cost) if cost else None,
        "usage": _usage(found),
    }


def _text(value: bytes | None) -> str:
    return value.decode("latin-1").strip()[:_MAX_VALUE] if value else ""


def _credits(value: bytes | None) -> float | None:
    try:
        number = float(value) if value else None
    except ValueError:
        return None
    return number if number is not None and isfinite(number) else None


def _usage(found: dict[bytes, bytes]) -> dict[str, int] | None:
    usage: dict[str, int] = {}
    for name, key in _COUNTS.items():
        value = found.get(name, b"")
        if value.isdigit() and len(value) < 16:
            usage[key] = int(value)
    return usage or None
