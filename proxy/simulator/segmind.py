"""Segmind: `POST /v1/{slug}`, the model in the address only, never streamed, with cost and credits in headers."""

from __future__ import annotations

import orjson

from proxy.simulator import openai_shape as shape
from proxy.simulator.api import Api, Asked, RequestFault, text_of, whole_number
from proxy.simulator.story import Answer, Ask

PRICE = 0.000_005
"""Dollars per token."""


def read(asked: Asked) -> Ask:
    """The request, as far as it matters."""
    body = asked.body
    said = body.get("messages") or body.get("prompt")
    if not said:
        raise RequestFault("messages is required")
    limit = whole_number(body.get("max_tokens"))
    return Ask(model=asked.path["slug"], prompt=text_of(said), limit=limit, body=body)


def document(answer: Answer) -> bytes:
    """A `chat.completion`."""
    counts = answer.counts
    told = {
        "prompt_tokens": counts.input_tokens,
        "completion_tokens": counts.output_tokens,
        "total_tokens": counts.total,
    }
    message = {"role": "assistant", "content": answer.text}
    choice = {"index": 0, "message": message, "finish_reason": shape.finish(answer)}
    value = {**shape.envelope(answer, "chat", "chat.completion"), "choices": [choice]}
    return orjson.dumps({**value, **({"usage": told} if answer.show_usage else {})})


def refusal(status: int, message: str) -> bytes:
    """The body of an error answer."""
    return orjson.dumps({"error": "Insufficient credits" if status == 406 else message})


def headers(answer: Answer) -> list[tuple[str, str]]:
    """Cost, credits and the rest."""
    return [
        ("x-remaining-credits", "98.76543"),
        ("x-cost", f"{answer.counts.total * PRICE:.6f}"),
        ("x-generation-time", "0.84"),
        ("x-request-id", answer.ident[:8]),
    ]


API = Api(name="segmind", read=read, document=document, refusal=refusal, headers=headers)
