"""OpenAI responses: `POST /v1/responses`, whole or as named server-sent events with sequence numbers and no `[DONE]`.

The last event embeds the whole response, usage included, whether it was asked for or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from proxy.simulator import openai_shape as shape
from proxy.simulator.api import Api, Asked, need, sse, text_of, whole_number
from proxy.simulator.story import CREATED, Answer, Ask


def read(asked: Asked) -> Ask:
    """The request, as far as it matters."""
    body = asked.body
    return Ask(
        model=str(need(body, "model")),
        prompt=text_of([body.get("instructions"), need(body, "input")]),
        stream=body.get("stream") is True,
        limit=whole_number(body.get("max_output_tokens")),
        body=body,
    )


def document(answer: Answer) -> bytes:
    """A finished `response`."""
    return orjson.dumps(_finished(answer))


def events(answer: Answer) -> Iterator[bytes]:
    """From `response.created` to `response.completed`."""
    for number, (kind, fields) in enumerate(_steps(answer)):
        yield sse({"type": kind, "sequence_number": number, **fields}, event=kind)


def _steps(answer: Answer) -> Iterator[tuple[str, Mapping[str, Any]]]:
    begun = _response(answer, "in_progress", [])
    where = {"item_id": _item_id(answer), "output_index": 0, "content_index": 0}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    yield "response.output_item.added", {"output_index": 0, "item": _item(answer, "in_progress", [])}
    yield "response.content_part.added", {**where, "part": _part("")}
    for piece in answer.pieces:
        yield "response.output_text.delta", {**where, "delta": piece, "logprobs": []}
    yield "response.output_text.done", {**where, "text": answer.text, "logprobs": []}
    yield "response.content_part.done", {**where, "part": _part(answer.text)}
    yield "response.output_item.done", {"output_index": 0, "item": _spoken(answer)}
    yield _last(answer), {"response": _finished(answer)}


def _last(answer: Answer) -> str:
    return "response.incomplete" if answer.cut_short else "response.completed"


def _finished(answer: Answer) -> dict[str, Any]:
    status = "incomplete" if answer.cut_short else "completed"
    value = _response(answer, status, [_spoken(answer)])
    if answer.cut_short:
        value["incomplete_details"] = {"reason": "max_output_tokens"}
    if answer.show_usage:
        value["usage"] = _usage(answer)
    return value


def _response(answer: Answer, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    body = answer.ask.body
    return {
        "id": f"resp_{answer.ident}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": answer.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "metadata": {},
    }


def _usage(answer: Answer) -> dict[str, Any]:
    counts = answer.counts
    return {
        "input_tokens": counts.input_tokens,
        "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": counts.cache_write},
        "output_tokens": counts.output_tokens,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.total,
    }


def _spoken(answer: Answer) -> dict[str, Any]:
    return _item(answer, "incomplete" if answer.cut_short else "completed", [_part(answer.text)])


def _item(answer: Answer, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": _item_id(answer), "type": "message", "status": status, "role": "assistant", "content": content}


def _item_id(answer: Answer) -> str:
    return f"msg_{answer.ident}"


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


BROKEN = {
    "type": "error",
    "sequence_number": 4,
    "code": "server_error",
    "message": "The server had an error.",
    "param": None,
}

API = Api(
    name="openai.responses",
    read=read,
    document=document,
    events=events,
    refusal=shape.refusal,
    broken=sse(BROKEN, event="error"),
    headers=shape.headers,
)
