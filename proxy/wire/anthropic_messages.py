"""Anthropic Messages: named events, usage in two halves (message_start, message_delta), or one whole message."""

from __future__ import annotations

from typing import Any

import orjson

from proxy.wire.errors import note
from proxy.wire.facts import Facts

_TEXTS = ("text", "thinking", "partial_json")
"""What a delta can say. `signature` is a seal, not text; citations quote the prompt."""


def read(event: dict[str, Any], facts: Facts) -> bool:
    """Fold one event, or a whole message; True when it carries content."""
    kind = event.get("type")
    if kind == "content_block_delta":
        return _delta(event.get("delta"), facts)
    reader = _EVENTS.get(kind) if type(kind) is str else None
    if reader is not None:
        return reader(event, facts)
    note(event, facts)
    facts.count(event.get("usage"))
    return False


def _delta(delta: Any, facts: Facts) -> bool:
    if type(delta) is not dict:
        return False
    for key in _TEXTS:
        text = delta.get(key)
        if type(text) is str and text:
            facts.say(text)
            return True
    return False


def _block(event: dict[str, Any], facts: Facts) -> bool:
    """A block's start names the tool; some vendors send whole blocks in it."""
    return _said(event.get("content_block"), facts)


def _said(block: Any, facts: Facts) -> bool:
    if type(block) is not dict:
        return False
    spoke = False
    for key in ("text", "thinking", "name"):
        text = block.get(key)
        if type(text) is str and text:
            facts.say(text)
            spoke = True
    if spoke and type(block.get("input")) is dict and block["input"]:
        facts.say(orjson.dumps(block["input"]).decode())
    return spoke


def _start(event: dict[str, Any], facts: Facts) -> bool:
    message = event.get("message")
    if type(message) is dict:
        facts.name(message.get("model"), message.get("id"))
        _count(message.get("usage"), facts)
        facts.provisional = facts.usage is not None
    return False


def _count(usage: Any, facts: Facts) -> None:
    facts.count(usage)
    if type(usage) is dict:
        facts.tier(usage.get("service_tier"))


def _ending(event: dict[str, Any], facts: Facts) -> bool:
    delta, usage = event.get("delta"), event.get("usage")
    if type(delta) is dict:
        facts.finish(delta.get("stop_reason"))
    _count(usage, facts)
    if type(usage) is dict and usage.get("output_tokens") is not None:
        facts.provisional = False
    return False


def _stop(event: dict[str, Any], facts: Facts) -> bool:
    facts.terminal = True
    facts.provisional = False
    return False


def _message(event: dict[str, Any], facts: Facts) -> bool:
    """A whole answer."""
    facts.name(event.get("model"), event.get("id"))
    facts.finish(event.get("stop_reason"))
    _count(event.get("usage"), facts)
    content = event.get("content")
    spoken = [_said(block, facts) for block in content] if type(content) is list else []
    facts.terminal = True
    return any(spoken)


def _error(event: dict[str, Any], facts: Facts) -> bool:
    note(event, facts)
    return False


def _nothing(event: dict[str, Any], facts: Facts) -> bool:
    return False


_EVENTS = {
    "message_start": _start,
    "content_block_start": _block,
    "content_block_stop": _nothing,
    "message_delta": _ending,
    "message_stop": _stop,
    "message": _message,
    "ping": _nothing,
    "error": _error,
}
