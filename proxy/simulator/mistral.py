"""Mistral: OpenAI's chat API with three differences: a stream always tells usage, in its last chunk; no `usage: null`
comes before that; and errors are flat objects. Embeddings are OpenAI's with an id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from proxy.simulator import openai_chat, openai_embeddings, openai_shape as shape
from proxy.simulator.api import Api, Asked, sse
from proxy.simulator.story import Answer, Ask

KINDS = {400: "invalid_request_error", 401: "unauthorized", 422: "invalid_request_error", 429: "rate_limited"}


def read(asked: Asked) -> Ask:
    """As OpenAI's, but usage needs no asking."""
    return replace(openai_chat.read(asked), usage_asked=True)


def document(answer: Answer) -> bytes:
    """A `chat.completion`."""
    message = {"role": "assistant", "content": answer.text, "tool_calls": None}
    choice = {"index": 0, "message": message, "finish_reason": shape.finish(answer)}
    value = {**shape.envelope(answer, "cmpl", "chat.completion"), "choices": [choice]}
    return orjson.dumps({**value, **_usage(answer)})


def events(answer: Answer) -> Iterator[bytes]:
    """Chunks; the last one has finish_reason and usage together."""
    yield _chunk(answer, {"role": "assistant", "content": ""})
    for piece in answer.pieces:
        yield _chunk(answer, {"content": piece})
    yield _chunk(answer, {"content": ""}, finish=shape.finish(answer), **_usage(answer))
    yield shape.DONE


def _chunk(answer: Answer, delta: dict[str, Any], *, finish: str | None = None, **more: Any) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return sse({**shape.envelope(answer, "cmpl", "chat.completion.chunk"), "choices": choices, **more})


def _usage(answer: Answer) -> dict[str, Any]:
    counts = answer.counts
    if not answer.show_usage:
        return {}
    return {
        "usage": {
            "prompt_tokens": counts.input_tokens,
            "completion_tokens": counts.output_tokens,
            "total_tokens": counts.total,
            "prompt_tokens_details": {"cached_tokens": counts.cached},
        }
    }


def refusal(status: int, message: str) -> bytes:
    """The body of an error answer."""
    kind = KINDS.get(status, "internal_server_error")
    return orjson.dumps({"object": "error", "message": message, "type": kind, "param": None, "code": str(status)})


def headers(answer: Answer) -> list[tuple[str, str]]:
    """Headers of a good answer."""
    return [("mistral-correlation-id", answer.ident), ("x-kong-upstream-latency", "12")]


CHAT = Api(
    name="openai.chat",
    read=read,
    document=document,
    events=events,
    refusal=refusal,
    broken=shape.BROKEN,
    headers=headers,
)


def embeddings(answer: Answer) -> bytes:
    """OpenAI's list of embeddings, with an id."""
    return orjson.dumps({"id": answer.ident, **orjson.loads(openai_embeddings.document(answer))})


EMBEDDINGS = replace(openai_embeddings.API, document=embeddings, refusal=refusal, headers=headers)
