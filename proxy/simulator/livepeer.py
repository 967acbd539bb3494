"""Livepeer: `POST /llm`, as the Go gateway and as the Python runner behind it answer.

The gateway tells cumulative usage in every event, ends with a non-empty `finish_reason` and sends no `[DONE]`; the
runner sends it. Go escapes `<`, `>` and `&` and ends a document with a line feed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from proxy.simulator import openai_shape as shape
from proxy.simulator.api import Api, Asked, RequestFault, sse, text_of, whole_number
from proxy.simulator.story import CREATED, Answer, Ask

NEEDED = ("messages", "stream", "max_tokens")
GO_ESCAPES = ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"))


def read(asked: Asked) -> Ask:
    """The request; the gateway wants all four fields, and takes an empty model."""
    body = asked.body
    if "model" not in body or not all(name in body for name in NEEDED) or not body["messages"]:
        raise RequestFault("missing required fields")
    return Ask(
        model=str(body["model"]),
        prompt=text_of(body["messages"]),
        stream=body["stream"] is True,
        limit=whole_number(body["max_tokens"]),
        body=body,
    )


def document(answer: Answer) -> bytes:
    """A whole answer."""
    message = {"content": answer.text, "role": "assistant"}
    choice = {"finish_reason": shape.finish(answer), "index": 0, "message": message}
    return _go(_object(answer, choice, answer.counts.output_tokens)) + b"\n"


def events(answer: Answer) -> Iterator[bytes]:
    """Events of the gateway."""
    return (b"data: " + _go(value) + b"\n\n" for value in _chunks(answer))


def runner_events(answer: Answer) -> Iterator[bytes]:
    """Events of the runner."""
    for value in _chunks(answer):
        yield sse(value)
    yield shape.DONE


def _chunks(answer: Answer) -> Iterator[dict[str, Any]]:
    for index, piece in enumerate(answer.pieces):
        yield _object(answer, _choice(piece, ""), index + 1 + answer.counts.reasoning)
    yield _object(answer, _choice("", shape.finish(answer)), answer.counts.output_tokens)


def _choice(text: str, finish: str) -> dict[str, Any]:
    return {"delta": {"content": text, "role": "assistant"}, "finish_reason": finish, "index": 0}


def _object(answer: Answer, choice: dict[str, Any], output: int) -> dict[str, Any]:
    count = answer.counts.input_tokens
    usage = {"completion_tokens": output, "prompt_tokens": count, "total_tokens": count + output}
    value = {"choices": [choice], "created": CREATED, "id": f"chatcmpl-{answer.ident}", "model": _model(answer)}
    return {**value, **({"usage": usage} if answer.show_usage else {})}


def _model(answer: Answer) -> str:
    return answer.model or "meta-llama/Meta-Llama-3.1-8B-Instruct"


def _go(value: Any) -> bytes:
    data = orjson.dumps(value)
    for plain, escaped in GO_ESCAPES:
        data = data.replace(plain, escaped)
    return data


def refusal(status: int, message: str) -> bytes:
    """The body of an error answer of the gateway."""
    return _go({"error": {"message": message}}) + b"\n"


def runner_refusal(status: int, message: str) -> bytes:
    """The body of an error answer of the runner."""
    return orjson.dumps({"detail": {"msg": message}})


BROKEN = sse({"error": "Internal Server Error"})

GATEWAY = Api(
    name="openai.chat",
    read=read,
    document=document,
    events=events,
    refusal=refusal,
    broken=BROKEN,
    stream_type="text/event-stream",
)
RUNNER = Api(
    name="openai.chat", read=read, document=document, events=runner_events, refusal=runner_refusal, broken=BROKEN
)


def speaker(asked: Asked) -> Api:
    """The gateway, unless `x-sim-dialect: runner`."""
    return RUNNER if asked.dialect == "runner" else GATEWAY
