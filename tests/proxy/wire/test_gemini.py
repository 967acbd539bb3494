"""Gemini: SSE, one JSON array, or one object."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.metering import counts, events, read

STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
WHOLE = "/v1beta/models/gemini-2.5-flash:generateContent"


def chunk(text: str | None = None, finish: str | None = None, **usage: int) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}] if text is not None else [], "role": "model"}}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash", "responseId": "r1"}


CHUNKS = [
    chunk("", promptTokenCount=4, totalTokenCount=4),
    chunk("Hi", promptTokenCount=4, candidatesTokenCount=2, totalTokenCount=6),
    chunk(None, "STOP", promptTokenCount=4, candidatesTokenCount=6, thoughtsTokenCount=190, totalTokenCount=200),
]


def test_a_stream_of_events() -> None:
    body = events(*CHUNKS, end=b"").replace(b"\n\n", b"\r\n\r\n")
    found = read(body, path=STREAM, outcome="client_closed")
    assert (counts(found), found.reasoning_tokens, found.usage_rules) == ((4, 196, 200), 190, "reasoning_added")
    assert (found.outcome, found.finish_reason, found.content_events) == ("ok", "STOP", 1)
    assert (found.request_model, found.response_model, found.response_id) == ("gemini-2.5-flash",) * 2 + ("r1",)


def test_a_stream_as_one_array() -> None:
    body = b"[" + b"\n,\r\n".join(json.dumps(value, indent=1).encode() for value in CHUNKS) + b"]"
    for size in (3, 50, len(body)):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        found = read(*pieces, path=STREAM, content_type="application/json")
        assert (counts(found), found.stream, found.content_events) == ((4, 196, 200), True, 1)
        assert (found.meter_fault, found.usage_source) == (None, "provider")


def test_text_with_brackets_does_not_end_an_object() -> None:
    body = (b'[{"candidates":[{"content":{"parts":[{"text":"a \\"}\\" b"}]}}],"usageMetadata":{"promptTokenCount":4,'
            b'"totalTokenCount":4}}\n,\r\n{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":6,'
            b'"thoughtsTokenCount":190,"totalTokenCount":200}}]')  # fmt: skip
    found = read(body, path=STREAM, content_type="application/json")
    assert (counts(found), found.content_events) == ((4, 196, 200), 1)


def test_a_whole_answer() -> None:
    found = read(json.dumps(CHUNKS[2]).encode(), path=WHOLE, content_type="application/json")
    assert (counts(found), found.stream) == ((4, 196, 200), False)


def test_a_bare_error_between_events() -> None:
    error = json.dumps({"error": {"code": 429, "message": "…", "status": "RESOURCE_EXHAUSTED"}}, indent=2).encode()
    found = read(events(CHUNKS[1], end=b"") + error + b"\n", path=STREAM)
    assert (found.outcome, found.error_type, found.meter_fault) == ("stream_error", "resource_exhausted", None)


def test_a_blocked_prompt() -> None:
    blocked = {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
    }
    found = read(json.dumps(blocked).encode(), path=WHOLE, content_type="application/json")
    assert (counts(found), found.finish_reason, found.usage_rules) == ((4, 0, 4), "SAFETY", "output_from_total")


@pytest.mark.parametrize("part", [{"functionCall": {"name": "f", "args": {"a": 1}}}, {"inlineData": {"data": "AA=="}},
                                  {"executableCode": {"code": "1+1"}}, {"text": "hm", "thought": True}])  # fmt: skip
def test_parts_of_every_kind_are_content(part: dict[str, Any]) -> None:
    body = events({"candidates": [{"content": {"parts": [part]}}]}, end=b"")
    assert read(body, path=STREAM).content_events == 1


def test_the_prompt_of_tool_use_is_input() -> None:
    usage = chunk(
        "a", "STOP", promptTokenCount=10, candidatesTokenCount=5, toolUsePromptTokenCount=7, totalTokenCount=22
    )
    found = read(json.dumps(usage).encode(), path=WHOLE, content_type="application/json")
    assert (counts(found), found.usage_rules) == ((17, 5, 22), "tool_prompt_added")


def test_embeddings_have_no_output() -> None:
    body = json.dumps({"embedding": {"values": [0.1]}, "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}})
    found = read(body.encode(), path="/v1beta/models/e:embedContent", content_type="application/json")
    assert (counts(found), found.usage_source) == ((3, None, 3), "provider")
