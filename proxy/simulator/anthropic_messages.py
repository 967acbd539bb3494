"""Anthropic messages: `POST /v1/messages`, whole or as named server-sent events, and `POST /v1/messages/count_tokens`.

`input_tokens` leaves the cached parts out; the stream always tells input at its start and the cumulative output at its
end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from proxy.simulator.api import Api, Asked, RequestFault, need, sse, text_of, whole_number
from proxy.simulator.story import Answer, Ask

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
"""Status -> Anthropic's error type; others are `api_error`."""

SIGNATURE = "c2ltdWxhdGVk"
ORGANIZATION = "00000000-0000-4000-8000-000000000000"


def read(asked: Asked) -> Ask:
    """The request, as far as it matters."""
    body = asked.body
    if whole_number(need(body, "max_tokens")) is None:
        raise RequestFault("max_tokens: Input should be greater than or equal to 1")
    return Ask(
        model=str(need(body, "model")),
        prompt=text_of([body.get("system"), need(body, "messages")]),
        stream=body.get("stream") is True,
        limit=whole_number(body["max_tokens"]),
        body=body,
    )


def read_count(asked: Asked) -> Ask:
    """A request for a count, which needs no output limit."""
    return Ask(
        speaks=False,
        model=str(need(asked.body, "model")),
        prompt=text_of([asked.body.get("system"), need(asked.body, "messages")]),
        body=asked.body,
    )


def document(answer: Answer) -> bytes:
    """A `message`."""
    content: list[dict[str, str]] = [{"type": "text", "text": answer.text}]
    if answer.thoughts:
        content.insert(0, {"type": "thinking", "thinking": "".join(answer.thoughts), "signature": SIGNATURE})
    usage = {"usage": _usage(answer, answer.counts.output_tokens)} if answer.show_usage else {}
    return orjson.dumps({**_message(answer), "content": content, "stop_reason": _stop(answer), **usage})


def count(answer: Answer) -> bytes:
    """The answer to a count: not usage."""
    return orjson.dumps({"input_tokens": answer.counts.input_tokens})


def events(answer: Answer) -> Iterator[bytes]:
    """From `message_start` to `message_stop`."""
    usage = {"usage": _usage(answer, 1)} if answer.show_usage else {}
    yield _event("message_start", message={**_message(answer), "content": [], **usage})
    yield _event("ping")
    if answer.thoughts:
        yield from _thinking(answer)
    yield from _text(answer, index=1 if answer.thoughts else 0)
    final = {"usage": {"output_tokens": answer.counts.output_tokens}} if answer.show_usage else {}
    yield _event("message_delta", delta={"stop_reason": _stop(answer), "stop_sequence": None}, **final)
    yield _event("message_stop")


def _thinking(answer: Answer) -> Iterator[bytes]:
    yield _event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""})
    for thought in answer.thoughts:
        yield _event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": thought})
    yield _event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": SIGNATURE})
    yield _event("content_block_stop", index=0)


def _text(answer: Answer, index: int) -> Iterator[bytes]:
    yield _event("content_block_start", index=index, content_block={"type": "text", "text": ""})
    for piece in answer.pieces:
        yield _event("content_block_delta", index=index, delta={"type": "text_delta", "text": piece})
    yield _event("content_block_stop", index=index)


def _event(kind: str, **fields: Any) -> bytes:
    return sse({"type": kind, **fields}, event=kind)


def _message(answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.ident}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(answer: Answer, output: int) -> dict[str, Any]:
    counts = answer.counts
    thinking = {"output_tokens_details": {"thinking_tokens": counts.reasoning}} if counts.reasoning else {}
    return {
        "input_tokens": counts.input_tokens - counts.cached - counts.cache_write,
        "cache_creation_input_tokens": counts.cache_write,
        "cache_read_input_tokens": counts.cached,
        "output_tokens": output,
        **thinking,
        "service_tier": "standard",
    }


def _stop(answer: Answer) -> str:
    return "max_tokens" if answer.cut_short else "end_turn"


def _error(status: int, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": ERROR_TYPES.get(status, "api_error"), "message": message}}


def refusal(status: int, message: str) -> bytes:
    """The body of an error answer."""
    return orjson.dumps(_error(status, message))


def headers(answer: Answer) -> list[tuple[str, str]]:
    """Headers of a good answer."""
    return [("request-id", f"req_{answer.ident[:24]}"), ("anthropic-organization-id", ORGANIZATION)]


API = Api(
    name="anthropic.messages",
    read=read,
    document=document,
    events=events,
    refusal=refusal,
    broken=sse(_error(529, "Overloaded"), event="error"),
    headers=headers,
)

COUNT = Api(name="count", read=read_count, document=count, refusal=refusal, headers=headers, reports=False)
