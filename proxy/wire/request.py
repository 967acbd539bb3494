"""What a request says: model, output limit; and, for estimates only, the text that a provider would count.

Driven by shape, not by wire format: the same few keys serve every API. Base64 and data URLs are never text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import loads as lenient_loads
from typing import Any, NamedTuple

import orjson

HEAD_BYTES = 64 << 10
"""Where names are looked for in a body that cannot be parsed: cut off, or multipart with a file in it."""
_MAX_MODEL = 256
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,256})"')
_MODEL_FIELD = re.compile(rb'name="?model"?\s*\r?\n(?:[^\r\n]+\r?\n)*\r?\n([^\r\n]{1,256})\r?\n')
_LIMITS = (
    "max_completion_tokens",
    "max_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "num_predict",
    "maxOutputTokens",
    "maxTokens",
)
_LIMIT_PLACES = ("generationConfig", "generation_config", "options", "parameters", "inferenceConfig")
_NAMES, _PLACES = frozenset(_LIMITS), frozenset(_LIMIT_PLACES)


class Asked(NamedTuple):
    """What the meter needs of a request."""

    model: str | None
    max_tokens: int | None


NOTHING = Asked(None, None)


class Message(NamedTuple):
    """One piece of a prompt."""

    role: str
    text: str
    name: str = ""


class Prompt(NamedTuple):
    """All text of a request that a provider counts as input."""

    messages: tuple[Message, ...]
    chat: bool
    """Messages with roles, which cost a few tokens each beside their text."""
    tools: str
    """The tools' schemas as JSON."""
    counted: int
    """Tokens that came as numbers already."""


def asked(body: bytes, content_type: str, *, truncated: bool) -> Asked:
    """Model and output limit of a decoded request body; nothing raises."""
    if content_type.startswith("multipart/"):
        return Asked(_found(_MODEL_FIELD, body), None)
    if not truncated:
        parsed = parse(body)
        if type(parsed) is dict:
            return Asked(_model(parsed.get("model")), _limit(parsed))
    return Asked(_found(_MODEL, body), None)


def parse(body: bytes) -> Any:
    """A JSON value, leniently; None when there is none."""
    try:
        return orjson.loads(body)
    except ValueError:
        pass  # NaN, lone surrogates, a BOM, numbers beyond 64 bits: the standard library is more lenient
    try:
        return lenient_loads(body.decode("utf-8-sig", "replace"), parse_int=_integer)
    except (ValueError, RecursionError):
        return None


def _integer(digits: str) -> int | float:
    """A number of 5,000 digits is no reason to lose the rest of the object (int() would raise above 4,300)."""
    return int(digits) if len(digits) <= 20 else float("inf")


def _found(pattern: re.Pattern[bytes], body: bytes) -> str | None:
    match = pattern.search(body[:HEAD_BYTES]) or pattern.search(body[-HEAD_BYTES:])
    return match[1].decode("utf-8", "replace") if match else None


def _model(value: Any) -> str | None:
    return value[:_MAX_MODEL] if type(value) is str and value else None


def _limit(parsed: dict[str, Any]) -> int | None:
    limit = _limit_in(parsed)
    if limit is not None or _PLACES.isdisjoint(parsed):
        return limit
    places = (parsed[place] for place in _LIMIT_PLACES if type(parsed.get(place)) is dict)
    return next((limit for limit in map(_limit_in, places) if limit is not None), None)


def _limit_in(inner: dict[str, Any]) -> int | None:
    if _NAMES.isdisjoint(inner):
        return None
    limits = (inner.get(key) for key in _LIMITS)
    return next((limit for limit in limits if type(limit) is int and 0 <= limit < 1 << 53), None)


def prompt(body: bytes) -> Prompt | None:
    """The text of a request; None when the body is no JSON object. Called in a thread, for estimates."""
    parsed = parse(body)
    if type(parsed) is not dict:
        return None
    messages: list[Message] = []
    counted = 0
    for key in ("system", "systemInstruction", "system_instruction", "instructions"):
        messages += (Message("system", text) for text in _texts(parsed.get(key)))
    for key in ("messages", "contents", "chat_input", "input", "prompt", "inputs", "query", "suffix"):
        value = parsed.get(key)
        counted += _token_count(value)
        messages += _messages(value)
    chat = any(type(parsed.get(key)) is list for key in ("messages", "contents")) or _holds_roles(parsed)
    return Prompt(tuple(messages), chat, _tools(parsed), counted)


def _holds_roles(parsed: dict[str, Any]) -> bool:
    value = parsed.get("chat_input") or parsed.get("input")
    return type(value) is list and any(type(item) is dict and "role" in item for item in value)


def _messages(value: Any) -> Iterator[Message]:
    if type(value) is str:
        yield Message("user", _text(value))
    for item in value if type(value) is list else ():
        if type(item) is str:
            yield Message("user", _text(item))
        elif type(item) is dict:
            yield _message(item)


def _message(item: dict[str, Any]) -> Message:
    plain = (item.get(key) for key in ("text", "arguments", "output", "thinking", "reasoning_content"))
    texts = [*_texts(item.get("content")), *_texts(item.get("parts")), *_calls(item)]
    texts += (_text(value) for value in plain if type(value) is str)
    role, name = item.get("role"), item.get("name")
    return Message(role if type(role) is str else "user", "\n".join(texts), name if type(name) is str else "")


def _texts(value: Any, depth: int = 4) -> Iterator[str]:
    """Text fields only: images, audio and files stand under other keys and are left out."""
    if type(value) is str:
        yield _text(value)
    elif type(value) is list and depth:
        for part in value:
            yield from _texts(part, depth - 1)
    elif type(value) is dict and depth:
        for key in ("text", "thinking", "content", "parts"):
            yield from _texts(value.get(key), depth - 1)
        for key in ("input", "args", "response"):
            if type(value.get(key)) is dict:
                yield _dumped(value[key])
        for key in ("functionCall", "functionResponse"):
            yield from _texts(value.get(key), depth - 1)


def _calls(item: dict[str, Any]) -> Iterator[str]:
    calls = item.get("tool_calls")
    for call in calls if type(calls) is list else ():
        function = call.get("function") if type(call) is dict else None
        if type(function) is not dict:
            continue
        for value in (function.get("name"), function.get("arguments")):
            if type(value) is str:
                yield value
            elif type(value) is dict:
                yield _dumped(value)


def _text(text: str) -> str:
    return "" if text.startswith("data:") and ";base64," in text[:128] else text


def _tools(parsed: dict[str, Any]) -> str:
    tools = parsed.get("tools") or parsed.get("functions")
    return _dumped(tools) if type(tools) is list and tools else ""


def _dumped(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return ""


def _token_count(value: Any) -> int:
    """Prompts and embedding inputs may be token ids: a list of numbers, or a list of such lists."""
    if type(value) is not list:
        return 0
    return sum(1 if type(item) is int else len(item) if _is_ids(item) else 0 for item in value)


def _is_ids(item: Any) -> bool:
    return type(item) is list and bool(item) and type(item[0]) is int
