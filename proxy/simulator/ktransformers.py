"""KTransformers 0.1: OpenAI's and Ollama's addresses, framings of its own, no usage and no model name in its answers.

Chat events are `data:` without a space, many without content; all streams but `/api/generate` end in `event: done`;
`/api/generate` sends lines under the content type of server-sent events. What it refuses, it refuses with a plain 500.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from proxy.simulator import ollama, openai_chat, openai_completions
from proxy.simulator.api import SSE_TYPE, Api, Asked, RequestFault
from proxy.simulator.story import CREATED, Answer, Ask

NOT_IMPLEMENTED = "not implmented"
"""Its model name and fingerprint, spelled as it spells them."""
DONE = b"event: done\ndata: [DONE]\n\n"
PAUSE = 3
"""After so many pieces comes an event without content: its streamer holds back partial words."""


def chat_document(answer: Answer) -> bytes:
    """A whole chat answer, which calls itself a chunk."""
    choice = {"index": 0, "message": _said(answer.text), "logprobs": None, "finish_reason": None}
    return orjson.dumps(_object(answer, choice))


def chat_events(answer: Answer) -> Iterator[bytes]:
    """Events of a chat."""
    for piece in _with_pauses(answer):
        choice = {"index": 0, "delta": _said(piece), "logprobs": None, "finish_reason": None}
        yield b"data:" + orjson.dumps(_object(answer, choice)) + b"\n\n"
    yield DONE


def completion_document(answer: Answer) -> bytes:
    """A whole completion."""
    return json.dumps({"choices": [{"delta": {"content": answer.text}}]}).encode()


def completion_events(answer: Answer) -> Iterator[bytes]:
    """Events of a completion, in Python's spaced JSON."""
    for piece in answer.pieces:
        yield f"data:{json.dumps({'choices': [{'delta': {'content': piece}}]})}\n\n".encode()
    yield f"data:{json.dumps({'choices': [{'delta': {'content': ''}, 'finish_reason': ''}]})}\n\n".encode()
    yield DONE


def read_generate(asked: Asked) -> Ask:
    """As Ollama's, but only streams exist."""
    if asked.body.get("stream") is not True:
        raise RequestFault("not implemented")
    return ollama.read_generate(asked)


def generate_events(answer: Answer) -> Iterator[bytes]:
    """Lines, the last without counts."""
    for index, piece in enumerate(_with_pauses(answer)):
        yield _line(answer, index, piece, done=False)
    yield _line(answer, 999, "", done=True)


def _line(answer: Answer, index: int, text: str, *, done: bool) -> bytes:
    created = f"2026-09-21 13:33:20.{index:06d}"
    return orjson.dumps({"model": answer.model, "created_at": created, "response": text, "done": done}) + b"\n"


def _with_pauses(answer: Answer) -> Iterator[str]:
    for index, piece in enumerate(answer.pieces):
        if index % PAUSE == 0:
            yield ""
        yield piece


def _said(text: str) -> dict[str, Any]:
    return {"content": text, "role": "assistant", "name": None}


def _object(answer: Answer, choice: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": answer.ident,
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": NOT_IMPLEMENTED,
        "system_fingerprint": NOT_IMPLEMENTED,
        "usage": None,
        "choices": [choice],
    }


def refusal(status: int, message: str) -> bytes:
    """Always the same."""
    return b"Internal Server Error"


CHAT = Api(
    name="openai.chat",
    read=openai_chat.read,
    document=chat_document,
    events=chat_events,
    refusal=refusal,
    refusal_type="text/plain; charset=utf-8",
    refusal_status=500,
    broken=b"Internal Server Error",
    reports=False,
)
COMPLETIONS = replace(
    CHAT,
    name="openai.completions",
    read=openai_completions.read,
    document=completion_document,
    events=completion_events,
)
GENERATE = replace(CHAT, name="ollama.generate", read=read_generate, events=generate_events, stream_type=SSE_TYPE)
