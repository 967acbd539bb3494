"""OpenAI legacy completions: `POST /v1/completions`, whole or streamed like chat, with `text` in place of messages."""

from __future__ import annotations

from collections.abc import Iterator
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
        prompt=text_of(need(body, "prompt")),
        stream=body.get("stream") is True,
        limit=whole_number(body.get("max_tokens")),
        usage_asked=shape.usage_asked(body),
        body=body,
    )


def document(answer: Answer) -> bytes:
    """A `text_completion`."""
    usage = {"usage": shape.usage(answer)} if answer.show_usage else {}
    return orjson.dumps({**_object(answer, [_choice(answer.text, shape.finish(answer))]), **usage})


def events(answer: Answer) -> Iterator[bytes]:
    """The same object, piece by piece."""
    quiet: dict[str, Any] = {"usage": None} if answer.show_usage else {}
    for piece in answer.pieces:
        yield sse({**_object(answer, [_choice(piece, None)]), **quiet})
    yield sse({**_object(answer, [_choice("", shape.finish(answer))]), **quiet})
    if answer.show_usage:
        yield sse({**_object(answer, []), "usage": shape.usage(answer)})
    yield shape.DONE


def _object(answer: Answer, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {**shape.envelope(answer, "cmpl", "text_completion"), "choices": choices}


def _choice(text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}


API = Api(
    name="openai.completions",
    read=read,
    document=document,
    events=events,
    refusal=shape.refusal,
    broken=shape.BROKEN,
    headers=shape.headers,
)
