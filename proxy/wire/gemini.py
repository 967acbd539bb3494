"""Google Gemini `generateContent`: candidates made of parts, `usageMetadata` cumulative in (nearly) every chunk."""

from __future__ import annotations

from typing import Any

import orjson

from proxy.wire.errors import note
from proxy.wire.facts import Facts


def read(event: dict[str, Any], facts: Facts) -> bool:
    """Fold one chunk, or the whole answer; True when it carries content."""
    if not facts.named or facts.response_id is None:
        facts.name(event.get("modelVersion"), event.get("responseId"))
    if "error" in event:
        note(event, facts)
    usage = event.get("usageMetadata")
    if usage is not None:
        facts.count(usage)
        facts.tier(usage.get("serviceTier") if type(usage) is dict else None)
    feedback = event.get("promptFeedback")
    if type(feedback) is dict and feedback.get("blockReason"):
        facts.finish(feedback["blockReason"])
        facts.terminal = True
    if "embedding" in event or "embeddings" in event:
        facts.vectors = facts.terminal = True
    content = False
    candidates = event.get("candidates")
    for candidate in candidates if type(candidates) is list else ():
        if type(candidate) is dict and _candidate(candidate, facts):
            content = True
    return content


def _candidate(candidate: dict[str, Any], facts: Facts) -> bool:
    if candidate.get("finishReason"):
        facts.finish(candidate["finishReason"])
        facts.terminal = True
    content = candidate.get("content")
    parts = content.get("parts") if type(content) is dict else None
    spoken = [_part(part, candidate.get("index"), facts) for part in parts] if type(parts) is list else []
    return any(spoken)


def _part(part: Any, lane: Any, facts: Facts) -> bool:
    if type(part) is not dict:
        return False
    text = part.get("text")
    if type(text) is str and text:
        facts.say_in(lane, text)
        return True
    call = part.get("functionCall")
    if type(call) is dict:
        facts.say_in(lane, str(call.get("name") or ""))
        if call.get("args"):
            facts.say_in(lane, orjson.dumps(call["args"]).decode())
        return True
    code = part.get("executableCode")
    if type(code) is dict and type(code.get("code")) is str:
        facts.say_in(lane, code["code"])
        return True
    return "inlineData" in part
