"""OpenAI embeddings: `POST /v1/embeddings`, as numbers, or as base64 of 32-bit floats as official clients ask for."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson

from proxy.simulator import openai_shape as shape
from proxy.simulator.api import Api, Asked, need, text_of, whole_number
from proxy.simulator.story import Answer, Ask, vector

SIZE = 8
"""Numbers in an embedding, unless the request says `dimensions`."""


def read(asked: Asked) -> Ask:
    """The request, as far as it matters."""
    texts = need(asked.body, "input")
    several = isinstance(texts, list) and not all(isinstance(item, int) for item in texts)
    return Ask(
        model=str(need(asked.body, "model")),
        prompt=text_of(texts),
        inputs=len(texts) if several else 1,
        speaks=False,
        body=asked.body,
    )


def document(answer: Answer) -> bytes:
    """A list of embeddings and the tokens that were read."""
    count = answer.counts.input_tokens
    usage = {"usage": {"prompt_tokens": count, "total_tokens": count}} if answer.show_usage else {}
    data = [_item(answer, index) for index in range(answer.ask.inputs)]
    return orjson.dumps({"object": "list", "data": data, "model": answer.model, **usage})


def _item(answer: Answer, index: int) -> dict[str, Any]:
    numbers = vector(answer, index, whole_number(answer.ask.body.get("dimensions")) or SIZE)
    packed: Any = numbers
    if answer.ask.body.get("encoding_format") == "base64":
        packed = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    return {"object": "embedding", "index": index, "embedding": packed}


API = Api(name="openai.embeddings", read=read, document=document, refusal=shape.refusal, headers=shape.headers)
