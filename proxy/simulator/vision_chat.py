"""vision-chat: `POST /api/vision-chat`, always streamed, without id, model or usage.

Node's pipe packs events anew: one in the first HTTP chunk, up to ten in the second, then one each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

from proxy.simulator.api import Api, Asked, need, text_of, whole_number
from proxy.simulator.openai_shape import DONE
from proxy.simulator.story import Answer, Ask

PACKED = 10


def read(asked: Asked) -> Ask:
    """The request, as far as it matters."""
    body = asked.body
    return Ask(
        model=str(need(body, "model")),
        prompt=text_of(need(body, "messages")),
        stream=True,
        limit=whole_number(body.get("max_tokens")),
        body=body,
    )


def events(answer: Answer) -> Iterator[bytes]:
    """HTTP chunks."""
    single = list(_events(answer))
    yield single[0]
    yield b"".join(single[1 : 1 + PACKED])
    yield from single[1 + PACKED :]


def _events(answer: Answer) -> Iterator[bytes]:
    for index, piece in enumerate(answer.pieces):
        yield _event({"delta": {"content": piece, **({"role": "assistant"} if index == 0 else {})}})
    yield _event({"delta": {"content": ""}, "finish_reason": "stop"})
    yield DONE


def _event(choice: dict[str, Any]) -> bytes:
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


def document(answer: Answer) -> bytes:
    """The stream in one piece; not asked for, as every request is streamed."""
    return b"".join(_events(answer))


def refusal(status: int, message: str) -> bytes:
    """The body of an error answer."""
    return orjson.dumps({"success": False, "error": "API Key Limit Exceeded" if status == 402 else message})


def headers(answer: Answer) -> list[tuple[str, str]]:
    """Headers of a good answer."""
    return [("vary", "RSC, Next-Router-State-Tree, Next-Router-Prefetch")]


API = Api(
    name="openai.chat",
    read=read,
    document=document,
    events=events,
    refusal=refusal,
    headers=headers,
    reports=False,
)
