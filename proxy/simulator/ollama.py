"""Ollama: `/api/chat` and `/api/generate`, one JSON object per line unless `stream` is false, and `/api/embed`.

Counts come with the last line only. Durations are made up and constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from proxy.simulator.api import Api, Asked, need, text_of, whole_number
from proxy.simulator.story import Answer, Ask, vector

STREAM_TYPE = "application/x-ndjson"
CREATED_AT = "2026-09-21T13:33:20.000000Z"
DURATIONS = {
    "total_duration": 120_000_000,
    "load_duration": 10_000_000,
    "prompt_eval_duration": 10_000_000,
    "eval_duration": 100_000_000,
}
"""Nanoseconds."""
SIZE = 8

Say = Callable[[str], Mapping[str, Any]]
"""Text -> the fields that carry it."""


def read_chat(asked: Asked) -> Ask:
    """A chat, streamed unless the request says otherwise."""
    return _read(asked, text_of(need(asked.body, "messages")))


def read_generate(asked: Asked) -> Ask:
    """A plain prompt, streamed unless the request says otherwise."""
    return _read(asked, text_of([asked.body.get("system"), need(asked.body, "prompt")]))


def _read(asked: Asked, prompt: str) -> Ask:
    options = asked.body.get("options") or {}
    return Ask(
        model=str(need(asked.body, "model")),
        prompt=prompt,
        stream=asked.body.get("stream") is not False,
        limit=whole_number(options.get("num_predict")),
        body=asked.body,
    )


def chat_document(answer: Answer) -> bytes:
    """A whole chat answer."""
    return orjson.dumps(_last(answer, _message(answer.text)))


def generate_document(answer: Answer) -> bytes:
    """A whole generate answer."""
    return orjson.dumps(_last(answer, _response(answer.text)))


def chat_events(answer: Answer) -> Iterator[bytes]:
    """Lines of a chat."""
    return _lines(answer, _message)


def generate_events(answer: Answer) -> Iterator[bytes]:
    """Lines of a generate answer."""
    return _lines(answer, _response)


def _lines(answer: Answer, say: Say) -> Iterator[bytes]:
    for piece in answer.pieces:
        yield orjson.dumps({**_start(answer), **say(piece), "done": False}) + b"\n"
    yield orjson.dumps(_last(answer, say(""))) + b"\n"


def _message(text: str) -> Mapping[str, Any]:
    return {"message": {"role": "assistant", "content": text}}


def _response(text: str) -> Mapping[str, Any]:
    return {"response": text}


def _start(answer: Answer) -> dict[str, Any]:
    return {"model": answer.model, "created_at": CREATED_AT}


def _last(answer: Answer, said: Mapping[str, Any]) -> dict[str, Any]:
    counts = {"prompt_eval_count": answer.counts.input_tokens, "eval_count": answer.counts.output_tokens}
    reason = "length" if answer.cut_short else "stop"
    told = {**DURATIONS, **counts} if answer.show_usage else {}
    return {**_start(answer), **said, "done": True, "done_reason": reason, **told}


def read_embed(asked: Asked) -> Ask:
    """A request to embed one text, or several."""
    texts = need(asked.body, "input")
    inputs = len(texts) if isinstance(texts, list) else 1
    model = str(need(asked.body, "model"))
    return Ask(model=model, prompt=text_of(texts), inputs=inputs, speaks=False, body=asked.body)


def embed_document(answer: Answer) -> bytes:
    """Embeddings, and the tokens that were read."""
    vectors = [vector(answer, index, SIZE) for index in range(answer.ask.inputs)]
    told = {"prompt_eval_count": answer.counts.input_tokens} if answer.show_usage else {}
    times = {"total_duration": DURATIONS["total_duration"], "load_duration": DURATIONS["load_duration"]}
    return orjson.dumps({"model": answer.model, "embeddings": vectors, **times, **told})


def refusal(status: int, message: str) -> bytes:
    """The body of an error answer; with a line end also the error in a stream."""
    return orjson.dumps({"error": message})


BROKEN = refusal(500, "an error was encountered while running the model: unexpected EOF") + b"\n"

CHAT = Api(
    name="ollama.chat",
    read=read_chat,
    document=chat_document,
    events=chat_events,
    refusal=refusal,
    broken=BROKEN,
    stream_type=STREAM_TYPE,
)
GENERATE = Api(
    name="ollama.generate",
    read=read_generate,
    document=generate_document,
    events=generate_events,
    refusal=refusal,
    broken=BROKEN,
    stream_type=STREAM_TYPE,
)
EMBED = Api(name="ollama.embed", read=read_embed, document=embed_document, refusal=refusal)
