"""LLMstudio's engine, `POST /api/engine/chat/{provider}`: its 1.0 and 0.3 forms.

1.0 streams concatenated JSON objects, exactly one per HTTP chunk, each repeating the question; the last one tells usage
and metrics. 0.3 streams bare text without a content type. Its numbers come from the simulated provider behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.simulator import openai_shape as shape
from proxy.simulator.api import Api, Asked, RequestFault, text_of, whole_number
from proxy.simulator.story import CREATED, Answer, Ask

OLD_KEYS = frozenset({"api_key", "session_id", "api_endpoint"})
"""Only the 0.3 client sends these."""
TIMES: Mapping[str, float] = {
    "latency_s": 0.25,
    "time_to_first_token_s": 0.01,
    "inter_token_latency_s": 0.01,
    "tokens_per_second": 100.0,
}


def read(asked: Asked) -> Ask:
    """The request, as far as it matters."""
    body = asked.body
    if not isinstance(body.get("model"), str) or body.get("chat_input") is None:
        raise RequestFault("field required")
    parameters = body.get("parameters") or {}
    return Ask(
        model=body["model"],
        prompt=text_of(body["chat_input"]),
        stream=body.get("is_stream") is True,
        limit=whole_number(parameters.get("max_tokens")),
        body=body,
        dialect=asked.path["provider"],
    )


def document(answer: Answer) -> bytes:
    """A whole 1.0 answer; speed is told for streams only."""
    return _dump({**_new(answer), **_spoken(answer), "metrics": _metrics(answer, stream=False)})


def old_document(answer: Answer) -> bytes:
    """A whole 0.3 answer."""
    value = {**_new(answer), **_spoken(answer), "metrics": _old_metrics(answer)}
    del value["chat_output_stream"]
    return _dump({**value, "session_id": answer.ask.body.get("session_id")})


def events(answer: Answer) -> Iterator[bytes]:
    """One object per chunk."""
    yield _chunk(answer, [_choice({"content": "", "role": "assistant"})])
    for piece in answer.pieces:
        yield _chunk(answer, [_choice({"content": piece, "role": None})], chat_output_stream=piece)
    yield _chunk(answer, [_choice({"content": None, "role": None}, "stop")])
    usage = shape.usage(answer) if answer.show_usage else None
    metrics = _metrics(answer, stream=True) if answer.show_usage else None
    yield _chunk(answer, [], usage=usage, chat_output=answer.text, metrics=metrics)


def old_events(answer: Answer) -> Iterator[bytes]:
    """Bare text, one piece per chunk."""
    return (piece.encode() for piece in answer.pieces)


def _chunk(answer: Answer, choices: list[dict[str, Any]], **more: Any) -> bytes:
    return _dump({**_new(answer), "object": "chat.completion.chunk", "choices": choices, **more})


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "delta": {**delta, "function_call": None, "refusal": None, "tool_calls": None},
        "finish_reason": finish,
        "index": 0,
        "logprobs": None,
    }


def _new(answer: Answer) -> dict[str, Any]:
    body = answer.ask.body
    asked = body["chat_input"]
    context = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    return {
        "id": f"{answer.ident[:8]}-0000-4000-8000-{answer.ident[8:20]}",
        "choices": [],
        "created": CREATED,
        "model": answer.model,
        "object": "chat.completion",
        "service_tier": None,
        "system_fingerprint": None,
        "usage": None,
        "chat_input": asked if isinstance(asked, str) else text_of(asked[-1:]),
        "chat_output": None,
        "chat_output_stream": "",
        "context": context,
        "provider": answer.ask.dialect,
        "deployment": answer.model,
        "timestamp": CREATED + 0.5,
        "parameters": body.get("parameters") or {},
        "metrics": None,
    }


def _spoken(answer: Answer) -> dict[str, Any]:
    message = {"content": answer.text, "role": "assistant", "function_call": None, "tool_calls": None}
    choice = {"finish_reason": "stop", "index": 0, "logprobs": None, "message": message}
    return {"choices": [choice], "chat_output": answer.text}


def _metrics(answer: Answer, *, stream: bool) -> dict[str, Any]:
    counts = answer.counts
    times = TIMES if stream else {**dict.fromkeys(TIMES), "latency_s": TIMES["latency_s"]}
    return {
        "input_tokens": counts.input_tokens,
        "output_tokens": counts.output_tokens,
        "reasoning_tokens": counts.reasoning,
        "total_tokens": counts.total,
        "cached_tokens": counts.cached,
        "cost_usd": round(counts.input_tokens * 0.5e-6 + counts.output_tokens * 1.5e-6, 10),
        **times,
    }


def _old_metrics(answer: Answer) -> dict[str, Any]:
    told = _metrics(answer, stream=True)
    return {name: value for name, value in told.items() if name not in ("reasoning_tokens", "cached_tokens")}


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def refusal(status: int, message: str) -> bytes:
    """1.0: every failure is the same."""
    return b"Internal Server Error"


def old_refusal(status: int, message: str) -> bytes:
    """0.3: the status is kept."""
    return json.dumps({"detail": "Too many requests" if status == 429 else message}, separators=(",", ":")).encode()


NEW = Api(
    name="llmstudio",
    read=read,
    document=document,
    events=events,
    refusal=refusal,
    refusal_type="text/plain; charset=utf-8",
    refusal_status=500,
    stream_type="application/json",
    broken=b"",
)
OLD = Api(
    name="llmstudio",
    read=read,
    document=old_document,
    events=old_events,
    refusal=old_refusal,
    stream_type=None,
    reports_streams=False,
)


def speaker(asked: Asked) -> Api:
    """The form that the client speaks, unless `x-sim-dialect` names one."""
    old = asked.dialect == "0.3" or (not asked.dialect and not OLD_KEYS.isdisjoint(asked.body))
    return OLD if old else NEW
