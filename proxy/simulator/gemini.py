"""Google Gemini: `models/{model}:generateContent`, `:streamGenerateContent` (server-sent events with `alt=sse`, else
one JSON array, piece by piece), `:embedContent` and `:batchEmbedContents`, `:countTokens`.

Thoughts are outside `candidatesTokenCount`; every chunk of a stream carries usage, cumulative; zeros are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from proxy.simulator.api import Api, Asked, Speaker, need, text_of, whole_number
from proxy.simulator.story import Answer, Ask, vector

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
SIZE = 8


def read(asked: Asked) -> Ask:
    """A request for a whole answer."""
    return _read(asked, stream=False)


def read_stream(asked: Asked) -> Ask:
    """A request for a stream: the address says so, not the body."""
    return _read(asked, stream=True)


def _read(asked: Asked, *, stream: bool) -> Ask:
    config = asked.body.get("generationConfig") or {}
    return Ask(
        model=asked.path["model"],
        prompt=text_of([asked.body.get("systemInstruction"), need(asked.body, "contents")]),
        stream=stream,
        limit=whole_number(config.get("maxOutputTokens")),
        body=asked.body,
    )


def document(answer: Answer) -> bytes:
    """The whole `GenerateContentResponse`."""
    parts = [{"text": "".join(answer.thoughts), "thought": True}] if answer.thoughts else []
    return orjson.dumps(_response(answer, [*parts, {"text": answer.text}], answer.counts.spoken, last=True))


def events(answer: Answer) -> Iterator[bytes]:
    """Server-sent events with CRLF, no names and no terminator."""
    for chunk in _chunks(answer):
        yield b"data: " + orjson.dumps(chunk) + b"\r\n\r\n"


def array(answer: Answer) -> Iterator[bytes]:
    """One JSON array over the whole stream."""
    before = b"["
    for chunk in _chunks(answer):
        yield before + orjson.dumps(chunk, option=orjson.OPT_INDENT_2)
        before = b"\n,\r\n"
    yield b"\n]"


def _chunks(answer: Answer) -> Iterator[dict[str, Any]]:
    for thought in answer.thoughts:
        yield _response(answer, [{"text": thought, "thought": True}], 0, last=False)
    for index, piece in enumerate(answer.pieces):
        yield _response(answer, [{"text": piece}], index + 1, last=False)
    yield _response(answer, [{"text": ""}], answer.counts.spoken, last=True)


def _response(answer: Answer, parts: list[dict[str, Any]], spoken: int, *, last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if last:
        candidate["finishReason"] = "MAX_TOKENS" if answer.cut_short else "STOP"
    usage = {"usageMetadata": _usage(answer, spoken)} if answer.show_usage else {}
    return {"candidates": [candidate], **usage, "modelVersion": answer.model, "responseId": answer.ident}


def _usage(answer: Answer, spoken: int) -> dict[str, Any]:
    counts = answer.counts
    told = {
        "promptTokenCount": counts.input_tokens,
        "candidatesTokenCount": spoken,
        "totalTokenCount": counts.input_tokens + spoken + counts.reasoning,
        "cachedContentTokenCount": counts.cached,
        "thoughtsTokenCount": counts.reasoning,
    }
    return {name: number for name, number in told.items() if number}


def read_embed(asked: Asked) -> Ask:
    """A request to embed one text, or several."""
    texts = asked.body.get("requests")
    content = texts if isinstance(texts, list) else need(asked.body, "content")
    inputs = len(texts) if isinstance(texts, list) else 1
    return Ask(model=asked.path["model"], prompt=text_of(content), inputs=inputs, speaks=False, body=asked.body)


def embedding(answer: Answer) -> bytes:
    """One embedding. No usage: the API tells none."""
    return orjson.dumps({"embedding": {"values": vector(answer, 0, SIZE)}})


def embeddings(answer: Answer) -> bytes:
    """Several embeddings."""
    values = [{"values": vector(answer, index, SIZE)} for index in range(answer.ask.inputs)]
    return orjson.dumps({"embeddings": values})


def count(answer: Answer) -> bytes:
    """The answer to `:countTokens`: not usage."""
    return orjson.dumps({"totalTokens": answer.counts.input_tokens})


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": STATUSES.get(status, "UNKNOWN")}}


def refusal(status: int, message: str) -> bytes:
    """The body of an error answer."""
    return orjson.dumps(_error(status, message), option=orjson.OPT_INDENT_2)


def headers(answer: Answer) -> list[tuple[str, str]]:
    """Headers of a good answer."""
    return [("server-timing", "gfet4t7; dur=12")]


# In the middle of a stream the error comes as a bare object over several lines, not framed as an event.
BROKEN = refusal(503, "The model is overloaded. Please try again later.")
ARRAY_BROKEN = b"\n,\r\n" + BROKEN + b"\n]"

WHOLE = Api(name="gemini", read=read, document=document, refusal=refusal, headers=headers)
SSE = Api(
    name="gemini",
    read=read_stream,
    document=document,
    events=events,
    refusal=refusal,
    broken=BROKEN,
    stream_type="text/event-stream",
    headers=headers,
)
ARRAY = Api(
    name="gemini",
    read=read_stream,
    document=document,
    events=array,
    refusal=refusal,
    broken=ARRAY_BROKEN,
    stream_type="application/json; charset=UTF-8",
    headers=headers,
)
EMBED = Api(name="gemini", read=read_embed, document=embedding, refusal=refusal, headers=headers, reports=False)
BATCH_EMBED = Api(name="gemini", read=read_embed, document=embeddings, refusal=refusal, headers=headers, reports=False)
COUNT = Api(name="count", read=read, document=count, refusal=refusal, headers=headers, reports=False)


def stream(asked: Asked) -> Api:
    """The framing that the address asks for."""
    return SSE if asked.query.get("alt") == "sse" else ARRAY


METHODS: tuple[tuple[str, Speaker], ...] = (
    ("generateContent", WHOLE),
    ("streamGenerateContent", stream),
    ("embedContent", EMBED),
    ("batchEmbedContents", BATCH_EMBED),
    ("countTokens", COUNT),
)
"""What stands behind the colon in an address, and what answers there."""
