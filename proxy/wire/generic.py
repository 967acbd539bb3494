"""Any JSON: for vendors that nobody has written a reader for, and for what was salvaged of an oversized frame.

Reads each object as the format that it looks like, then looks for usage in the places where vendors put it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.wire.anthropic_messages import read as read_messages
from proxy.wire.errors import note
from proxy.wire.facts import Facts
from proxy.wire.gemini import read as read_gemini
from proxy.wire.ollama import read as read_ollama
from proxy.wire.openai_chat import read as read_chat
from proxy.wire.openai_responses import read as read_responses

_PLACES = (
    ("usage",),
    ("usageMetadata",),
    ("usage_metadata",),
    ("response", "usage"),
    ("message", "usage"),
    ("delta", "usage"),
    ("x_groq", "usage"),
    ("interaction", "usage"),
    ("result", "usage"),
    ("result", "stats"),
    ("stats",),
    ("amazon-bedrock-invocationMetrics",),
    ("usage_info",),
    ("meta", "billed_units"),
    ("meta", "tokens"),
    ("metrics",),
    ("details",),
)
"""Where usage is found, most trusted first."""
_FLAT = ("prompt_eval_count", "eval_count", "tokens_evaluated", "tokens_predicted", "inputTextTokenCount")


def read(event: dict[str, Any], facts: Facts) -> bool:
    """Fold one object of unknown kind; True when it carries content."""
    reader = _looks_like(event)
    content = reader(event, facts) if reader is not None else _plain(event, facts)
    _hunt(event, facts)
    return content


def _looks_like(event: dict[str, Any]) -> Callable[[dict[str, Any], Facts], bool] | None:
    kind = event.get("type")
    if "choices" in event:
        return read_chat
    if "candidates" in event or "usageMetadata" in event:
        return read_gemini
    if type(kind) is str:
        if kind.startswith("response."):
            return read_responses
        if kind.startswith(("message_", "content_block_")) or kind == "message":
            return read_messages
    if event.get("object") == "response":
        return read_responses
    return read_ollama if "done" in event else None


def _plain(event: dict[str, Any], facts: Facts) -> bool:
    """Names, an error, and text where single-purpose servers put it (TGI, llama.cpp, Cohere, LM Studio)."""
    facts.name(event.get("model"), event.get("id") or event.get("response_id"))
    note(event, facts)
    if event.get("stop") is True:
        facts.terminal = True
    facts.finish(event.get("finish_reason"))
    for key in ("generated_text", "content", "text", "completion", "output_text"):
        text = event.get(key)
        if type(text) is str and text:
            return _say(text, facts)
    return _inner(event, facts)


def _inner(event: dict[str, Any], facts: Facts) -> bool:
    token, delta = event.get("token"), event.get("delta")
    if type(token) is dict and type(token.get("text")) is str and token["text"] and not token.get("special"):
        return _say(token["text"], facts)
    if type(delta) is dict:
        facts.finish(delta.get("finish_reason"))
        message = delta.get("message")
        content = message.get("content") if type(message) is dict else None
        text = content.get("text") if type(content) is dict else None
        if type(text) is str and text:
            return _say(text, facts)
    return False


def _say(text: str, facts: Facts) -> bool:
    facts.say(text)
    return True


def _hunt(event: dict[str, Any], facts: Facts) -> None:
    if "embeddings" in event or "embedding" in event:  # Cohere, TGI, llama.cpp: an answer with no output to count
        facts.vectors = True
    if facts.usage is not None and "usage" in event:
        return
    for place in _PLACES:
        found: Any = event
        for key in place:
            found = found.get(key) if type(found) is dict else None
        if type(found) is dict and countable(found):
            facts.count(found)
            return
    timings = event.get("timings")
    if type(timings) is dict:
        facts.spare_usage = timings
    flat = {key: event[key] for key in _FLAT if event.get(key) is not None}
    if flat:
        facts.count(flat)


def countable(found: dict[str, Any]) -> bool:
    """Whether an object speaks of tokens at all: `details` and `metrics` may hold anything."""
    return any("token" in key or "Token" in key or key in ("billed_units", "tokens") for key in found)
