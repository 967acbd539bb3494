"""OpenAI Chat Completions, and everything shaped like it: Azure, vision-chat, Livepeer, KTransformers, Groq, vLLM …

One function serves a stream's chunk and a whole answer; legacy completions differ only in `choices[].text`.
"""

from __future__ import annotations

from typing import Any

from proxy.wire.errors import fail, note
from proxy.wire.facts import Facts


def read(event: dict[str, Any], facts: Facts) -> bool:
    """Fold one chunk, or the whole answer; True when it carries content."""
    if not facts.named:
        facts.name(event.get("model"), event.get("id"))
        facts.tier(event.get("service_tier"))
    if "error" in event or event.get("object") == "error":
        note(event, facts)
    usage = event.get("usage")
    if usage is not None:
        facts.count(usage)
    choices = event.get("choices")
    content = ending = False
    if type(choices) is list and choices:
        for choice in choices:
            if type(choice) is dict:
                if choice.get("finish_reason"):
                    ending = True
                    facts.finish(choice["finish_reason"])
                if _spoke(choice, facts):
                    content = True
    else:
        ending = True
    if ending:
        _end(event, usage, facts)
    return content


def _spoke(choice: dict[str, Any], facts: Facts) -> bool:
    delta = choice.get("delta") or choice.get("message")
    if type(delta) is not dict:
        text = choice.get("text")
        if type(text) is str and text:
            facts.say_in(choice.get("index"), text)
            return True
        return False
    content = delta.get("content")
    spoke = False
    if type(content) is str and content:
        lane = choice.get("index")
        if lane:
            facts.say_in(lane, content)
        else:
            facts.say(content)
        spoke = True
    if len(delta) > 1 or not spoke:
        for key, value in delta.items():
            if value and key in _BESIDES and _BESIDES[key](value, choice.get("index"), facts):
                spoke = True
    return spoke


def _said(value: Any, lane: Any, facts: Facts) -> bool:
    """A plain string of output: reasoning, refusal."""
    if type(value) is not str:
        return False
    facts.say_in(lane, value)
    return True


def _parts(value: Any, lane: Any, facts: Facts) -> bool:
    """`content` as a list of parts (Mistral's thinking), `reasoning_details` likewise."""
    spoke = False
    for part in value if type(value) is list else ():
        if type(part) is not dict:
            continue
        for key in ("text", "thinking", "refusal", "summary"):
            text = part.get(key)
            if type(text) is list:
                spoke = _parts(text, lane, facts) or spoke
            elif type(text) is str and text:
                facts.say_in(lane, text)
                spoke = True
    return spoke


def _called(value: Any, lane: Any, facts: Facts) -> bool:
    """Tool calls come in fragments: the name once, the arguments in pieces."""
    spoke = False
    for call in value if type(value) is list else (value,):
        function = call.get("function", call) if type(call) is dict else None
        if type(function) is not dict:
            continue
        for key in ("name", "arguments"):
            text = function.get(key)
            if type(text) is str and text:
                facts.say_in(lane, text)
                spoke = True
    return spoke


def _sounded(value: Any, lane: Any, facts: Facts) -> bool:
    """Audio is content but not text; its transcript is what was said."""
    if type(value) is not dict:
        return False
    transcript = value.get("transcript")
    if type(transcript) is str and transcript:
        facts.say_in(lane, transcript)
    return bool(transcript or value.get("data"))


def _details(value: Any, lane: Any, facts: Facts) -> bool:
    """OpenRouter repeats `reasoning` as details: content, but its text has been heard."""
    return type(value) is list and any(type(part) is dict and part.get("text") for part in value)


def _listed(value: Any, lane: Any, facts: Facts) -> bool:
    return _parts(value, lane, facts)


_BESIDES = {
    "content": _listed,
    "reasoning": _said,
    "reasoning_content": _said,
    "reasoning_details": _details,
    "refusal": _said,
    "tool_calls": _called,
    "function_call": _called,
    "audio": _sounded,
}
"""What a delta can hold beside plain text; `content` is here for lists, strings are read above."""


def _end(event: dict[str, Any], usage: Any, facts: Facts) -> None:
    """What only the last chunks carry: usage in odd places, and whether this is all."""
    groq = event.get("x_groq")
    if type(groq) is dict:
        if usage is None:
            facts.count(groq.get("usage"))
        if groq.get("error"):
            fail(facts, groq["error"])
    timings = event.get("timings")
    if type(timings) is dict:
        facts.spare_usage = timings
    choices = event.get("choices")
    if usage is None and type(choices) is list and choices and type(choices[0]) is dict:
        facts.count(choices[0].get("usage"))  # Moonshot
    if facts.usage is not None and facts.finish_reason is not None and not facts.several:
        facts.terminal = True
    facts.tier(event.get("service_tier"))
