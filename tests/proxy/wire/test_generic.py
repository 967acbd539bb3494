"""Vendors that nobody wrote a reader for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.wire.generic import countable
from tests.proxy.metering import counts, events, named, read

OPENAI = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
ANTHROPIC = {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 0}
GEMINI = {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}
BEDROCK = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}


@pytest.mark.parametrize(
    "body",
    [
        {"usage": OPENAI},
        {"choices": [{"message": {"content": "a"}}], "usage": OPENAI},
        {"type": "message", "content": [{"text": "a"}], "usage": ANTHROPIC},
        {"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": GEMINI},
        {"usage_metadata": GEMINI},
        {"object": "response", "status": "completed", "usage": {"input_tokens": 3, "output_tokens": 4}},
        {"model": "m", "response": "a", "done": True, "prompt_eval_count": 3, "eval_count": 4},
        {"output": {"message": {}}, "usage": BEDROCK, "metrics": {"latencyMs": 5}},
        {"result": {"response": "a", "usage": OPENAI}, "success": True},
        {"timings": {"prompt_n": 3, "predicted_n": 4}},
        {"content": "a", "stop": True, "tokens_evaluated": 3, "tokens_predicted": 4},
        {"text": "a", "meta": {"billed_units": {"input_tokens": 3.0, "output_tokens": 4.0}}},
        [{"generated_text": "a", "details": {"generated_tokens": 4, "input_length": 3}}],
        {"interaction": {"usage": {"total_input_tokens": 3, "total_output_tokens": 4, "total_tokens": 7}}},
        {
            "type": "chat.end",
            "result": {"stats": {"input_tokens": 3, "total_output_tokens": 4, "reasoning_output_tokens": 1}},
        },
    ],
)
def test_usage_is_found_wherever_it_is(body: Any) -> None:
    found = read(json.dumps(body).encode(), path="/v1/some-model", content_type="application/json")
    assert (counts(found), found.usage_source) == ((3, 4, 7), "provider")
    assert (found.request_model, found.meter_fault) == ("some-model", None)


def test_cohere_bills_its_own_units() -> None:
    usage = {
        "billed_units": {"input_tokens": 3.0, "output_tokens": 9.0},
        "tokens": {"input_tokens": 496.0, "output_tokens": 11.0},
    }
    start = {"type": "message-start", "id": "x", "delta": {"message": {"role": "assistant"}}}
    text = {"type": "content-delta", "delta": {"message": {"content": {"text": "Hi"}}}}
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}}
    found = read(named(start, text, end), path="/v2/chat")
    assert (counts(found), found.finish_reason, found.content_events) == ((3, 9, 12), "COMPLETE", 1)


def test_tgi_streams_tokens() -> None:
    token = {"token": {"text": "Hi", "special": False}}
    last = {"token": {"text": "</s>", "special": True}, "generated_text": "Hi",
            "details": {"finish_reason": "eos_token", "generated_tokens": 2, "input_length": 5}}  # fmt: skip
    found = read(events(token, last, end=b"").replace(b"data: ", b"data:"), path="/generate_stream")
    assert counts(found) == (5, 2, 7)


def test_lm_studio_names_its_events() -> None:
    words = [{"type": "chat.start", "model_instance_id": "m"}, {"type": "message.delta", "content": "Hi"}]
    end = {"type": "chat.end", "result": {"stats": {"input_tokens": 5, "total_output_tokens": 6}}}
    found = read(named(*words, end), path="/api/v1/chat")
    assert (counts(found), found.content_events) == ((5, 6, 11), 1)


def test_bedrocks_invoke_has_counts_in_its_head() -> None:
    head = ((b"X-Amzn-Bedrock-Input-Token-Count", b"3"), (b"X-Amzn-Bedrock-Output-Token-Count", b"4"))
    found = read(b'{"completion":"a"}', path="/model/ai21.j2/invoke", content_type="application/json", headers=head)
    assert (counts(found), found.request_model) == ((3, 4, 7), "ai21.j2")


def test_an_error_is_an_error_anywhere() -> None:
    found = read(b'{"error":"Insufficient credits"}', path="/v1/slug", content_type="application/json", status=406)
    assert (found.outcome, found.error_type) == ("upstream_error", "http_406")


@pytest.mark.parametrize(
    "body", [b"[]", b"7", b'"x"', b"null", b"{}", b'{"details":{"reason":"x"},"metrics":{"ms":1}}']
)
def test_nothing_is_made_of_nothing(body: bytes) -> None:
    found = read(body, path="/x", content_type="application/json")
    assert (counts(found), found.usage_source, found.outcome) == ((None, None, None), "none", "ok")


def test_only_objects_that_speak_of_tokens_count() -> None:
    assert countable({"input_tokens": 1})
    assert countable({"promptTokenCount": 1})
    assert not countable({"latencyMs": 1})
