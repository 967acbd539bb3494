"""Cohere v2: `POST /v2/chat`, whole or as named server-sent events, and `POST /v2/embed`.

Usage has two halves, what is billed and what was read, and its numbers are floats.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from proxy.simulator.api import Api, Asked, need, sse, text_of, whole_number
from proxy.simulator.story import Answer, Ask, vector

SIZE = 8
PREAMBLE = 60.0
"""Tokens of Cohere's own that `tokens` counts and `billed_units` does not."""


def read(asked: Asked) -> Ask:
    """The request, as far as it matters."""
    body = asked.body
    return Ask(
        model=str(need(body, "model")),
        prompt=text_of(need(body, "messages")),
        stream=body.get("stream") is True,
        limit=whole_number(body.get("max_tokens")),
        body=body,
    )


def document(answer: Answer) -> bytes:
    """A whole answer."""
    message = {"role": "assistant", "content": [{"type": "text", "text": answer.text}]}
    value = {"id": _id(answer), "finish_reason": _finish(answer), "message": message}
    return orjson.dumps({**value, **_usage(answer)})


def events(answer: Answer) -> Iterator[bytes]:
    """From `message-start` to `message-end`."""
    opening = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    yield _event("message-start", id=_id(answer), delta={"message": opening})
    yield _event("content-start", index=0, delta=_content({"type": "text", "text": ""}))
    for piece in answer.pieces:
        yield _event("content-delta", index=0, delta=_content({"text": piece}))
    yield _event("content-end", index=0)
    yield _event("message-end", delta={"finish_reason": _finish(answer), **_usage(answer)})


def _event(kind: str, **fields: Any) -> bytes:
    return sse({"type": kind, **fields}, event=kind)


def _content(value: dict[str, Any]) -> dict[str, Any]:
    return {"message": {"content": value}}


def _usage(answer: Answer) -> dict[str, Any]:
    if not answer.show_usage:
        return {}
    read, said = float(answer.counts.input_tokens), float(answer.counts.output_tokens)
    billed = {"input_tokens": read, "output_tokens": said}
    return {"usage": {"billed_units": billed, "tokens": {"input_tokens": read + PREAMBLE, "output_tokens": said}}}


def _id(answer: Answer) -> str:
    text = answer.ident
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


def _finish(answer: Answer) -> str:
    return "MAX_TOKENS" if answer.cut_short else "COMPLETE"


def read_embed(asked: Asked) -> Ask:
    """A request to embed texts."""
    texts = need(asked.body, "texts")
    model = str(need(asked.body, "model"))
    return Ask(model=model, prompt=text_of(texts), inputs=len(texts), speaks=False, body=asked.body)


def embed_document(answer: Answer) -> bytes:
    """Embeddings, and what is billed for them."""
    vectors = [vector(answer, index, SIZE) for index in range(answer.ask.inputs)]
    told = {"billed_units": {"input_tokens": float(answer.counts.input_tokens)}} if answer.show_usage else {}
    texts = answer.ask.body["texts"]
    meta = {"api_version": {"version": "2"}, **told}
    return orjson.dumps({"id": _id(answer), "embeddings": {"float": vectors}, "texts": texts, "meta": meta})


def refusal(status: int, message: str) -> bytes:
    """The body of an error answer."""
    return orjson.dumps({"id": "00000000-0000-4000-8000-000000000000", "message": message})


BROKEN = _event("message-end", delta={"finish_reason": "ERROR", "error": "The model failed to generate a response."})

CHAT = Api(name="cohere.v2", read=read, document=document, events=events, refusal=refusal, broken=BROKEN)
EMBED = Api(name="cohere.v2", read=read_embed, document=embed_document, refusal=refusal)
