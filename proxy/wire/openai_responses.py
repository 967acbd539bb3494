"""OpenAI Responses: events that name themselves in `type`, the whole answer again in the last one."""

from __future__ import annotations

from typing import Any

from proxy.wire.errors import fail, note
from proxy.wire.facts import Facts

_LAST = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_SILENT = ("audio.delta", "partial_image")
"""Content that is base64, never text."""


def read(event: dict[str, Any], facts: Facts) -> bool:
    """Fold one event, or a whole response; True when it carries content."""
    kind = event.get("type")
    if type(kind) is not str:
        return _answer(event, facts)
    if kind.endswith(".delta"):
        return _delta(kind, event.get("delta"), facts)
    if kind == "error":
        note(event, facts)
    elif kind == "response.output_item.added":
        return _named(event.get("item"), facts)
    elif kind.endswith("partial_image"):
        return True
    elif type(event.get("response")) is dict:
        spoke = facts.spoken
        _answer(event["response"], facts, ended=kind in _LAST)
        return facts.spoken and not spoke
    return False


def _delta(kind: str, delta: Any, facts: Facts) -> bool:
    if type(delta) is not str or not delta:
        return False
    if not kind.endswith(_SILENT):
        facts.say(delta)
    return True


def _named(item: Any, facts: Facts) -> bool:
    """A tool call begins with its name; its arguments come as deltas."""
    name = item.get("name") if type(item) is dict else None
    if type(name) is not str or not name:
        return False
    facts.say(name)
    return True


def _answer(answer: dict[str, Any], facts: Facts, *, ended: bool = True) -> bool:
    """The response object: in `response.created` it is empty, in the last event whole."""
    facts.name(answer.get("model"), answer.get("id"))
    facts.tier(answer.get("service_tier"))
    facts.count(answer.get("usage"))
    if answer.get("error") or answer.get("status") == "failed":
        fail(facts, answer.get("error"))
    if not ended:
        return False
    details = answer.get("incomplete_details")
    facts.finish((details.get("reason") if type(details) is dict else None) or answer.get("status"))
    facts.terminal = True
    if not facts.spoken:
        _output(answer.get("output"), facts)
    return facts.spoken


def _output(output: Any, facts: Facts) -> None:
    for item in output if type(output) is list else ():
        if type(item) is not dict:
            continue
        for key in ("name", "arguments", "input"):
            if type(item.get(key)) is str:
                facts.say(item[key])
        for key in ("content", "summary"):
            for part in item[key] if type(item.get(key)) is list else ():
                _part(part, facts)


def _part(part: Any, facts: Facts) -> None:
    for key in ("text", "refusal", "transcript"):
        text = part.get(key) if type(part) is dict else None
        if type(text) is str and text:
            facts.say(text)
