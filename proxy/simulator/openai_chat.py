"""OpenAI chat completions: `POST /v1/chat/completions`, whole or as data-only server-sent events that end in `[DONE]`.

Without `stream_options.include_usage` no chunk has a `usage` key; with it each chunk has `usage: null` and one more
chunk, without choices, carries the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from proxy.simulator import openai_shape as shape
from proxy.simulator.api import Api, Asked, need, sse, text_of, whole_number
from proxy.simulator.story import Answer, Ask


def read(asked: Asked) -> Ask:
    """The request, as far as it matters."""
    body = asked.body
    return Ask(
        model=str(need(body, "model")),
        prompt=text_of(need(body, "messages")),
        stream=body.get("stream") is True,
        limit=whole_number(body.get("max_completion_tokens")) or whole_number(body.get("max_tokens")),
        usage_asked=shape.usage_asked(body),
        body=body,
    )


def document(answer: Answer) -> bytes:
    """A `chat.completion`."""
    value = {
        **shape.envelope(answer, "chatcmpl", "chat.completion"),
        "choices": [{"index": 0, "message": _message(answer), "logprobs": None, "finish_reason": _finish(answer)}],
        **({"usage": shape.usage(answer)} if answer.show_usage else {}),
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }
    return orjson.dumps(value)


def events(answer: Answer) -> Iterator[bytes]:
    """`chat.completion.chunk` events."""
    yield _chunk(answer, [_choice({"role": "assistant", "content": "", "refusal": None})])
    for delta in _deltas(answer):
        yield _chunk(answer, [_choice(delta)])
    yield _chunk(answer, [_choice({}, _finish(answer))])
    if answer.show_usage:
        yield _chunk(answer, [], usage=shape.usage(answer))
    yield shape.DONE


def _deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    tool = _tool(answer)
    if tool is None:
        yield from ({"content": piece} for piece in answer.pieces)
        return
    function = {"name": tool, "arguments": ""}
    yield {"tool_calls": [{"index": 0, "id": _call_id(answer), "type": "function", "function": function}]}
    for piece in _argument_pieces(answer):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def _chunk(answer: Answer, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
    value = {
        **shape.envelope(answer, "chatcmpl", "chat.completion.chunk"),
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
        "choices": choices,
    }
    if answer.show_usage:
        value["usage"] = usage
    return sse(value)


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
    tool = _tool(answer)
    if tool is not None:
        function = {"name": tool, "arguments": "".join(_argument_pieces(answer))}
        message |= {"content": None, "tool_calls": [{"id": _call_id(answer), "type": "function", "function": function}]}
    return message


def _finish(answer: Answer) -> str:
    return "tool_calls" if _tool(answer) else shape.finish(answer)


def _tool(answer: Answer) -> str | None:
    """The first tool of the request, where the request demands that one be called."""
    tools = answer.ask.body.get("tools")
    if answer.ask.body.get("tool_choice") != "required" or not isinstance(tools, list) or not tools:
        return None
    function = tools[0].get("function", {}) if isinstance(tools[0], Mapping) else {}
    return str(function.get("name", "tool"))


def _call_id(answer: Answer) -> str:
    return f"call_{answer.ident[:24]}"


def _argument_pieces(answer: Answer) -> list[str]:
    quoted = [orjson.dumps(piece).decode()[1:-1] for piece in answer.pieces]
    return ['{"text":"', *quoted, '"}']


API = Api(
    name="openai.chat",
    read=read,
    document=document,
    events=events,
    refusal=shape.refusal,
    broken=shape.BROKEN,
    headers=shape.headers,
)
