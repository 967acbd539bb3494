"""Ollama's own API: `/api/chat`, `/api/generate`, `/api/embed`. One object per line, the last one `done: true`.

KTransformers speaks the same without any counts.
"""

from __future__ import annotations

from typing import Any

import orjson

from proxy.wire.errors import note
from proxy.wire.facts import Facts

_COUNTS = (
    "prompt_eval_count",
    "eval_count",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
)


def read(event: dict[str, Any], facts: Facts) -> bool:
    """Fold one line, or the whole answer; True when it carries content."""
    if not facts.named:
        facts.name(event.get("model"), None)
    if "error" in event:
        note(event, facts)
    if "embeddings" in event or "embedding" in event:
        facts.vectors = True
        _done(event, facts)
    elif event.get("done") is True:
        _done(event, facts)
    spoke = False
    for key in ("response", "thinking"):
        text = event.get(key)
        if type(text) is str and text:
            facts.say(text)
            spoke = True
    message = event.get("message")
    return (type(message) is dict and _message(message, facts)) or spoke


def _done(event: dict[str, Any], facts: Facts) -> None:
    counts = {key: event[key] for key in _COUNTS if event.get(key) is not None}
    if "prompt_eval_count" in counts or "eval_count" in counts:
        facts.count(counts)
    facts.finish(event.get("done_reason"))
    facts.terminal = True


def _message(message: dict[str, Any], facts: Facts) -> bool:
    spoke = False
    for key in ("content", "thinking"):
        text = message.get(key)
        if type(text) is str and text:
            facts.say(text)
            spoke = True
    calls = message.get("tool_calls")
    for call in calls if type(calls) is list else ():
        function = call.get("function") if type(call) is dict else None
        if type(function) is dict:
            facts.say(str(function.get("name") or ""))
            facts.say(orjson.dumps(function.get("arguments") or {}).decode())
            spoke = True
    return spoke
