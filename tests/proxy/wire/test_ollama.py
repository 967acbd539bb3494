"""Ollama's API."""

from __future__ import annotations

import json
from typing import Any

from tests.proxy.metering import counts, read

KIND = "application/x-ndjson"


def lines(*values: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def word(text: str) -> dict[str, Any]:
    return {"model": "llama3", "message": {"role": "assistant", "content": text}, "done": False}


LAST = {"model": "llama3", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop",
        "prompt_eval_count": 26, "eval_count": 298, "eval_duration": 4709213000}  # fmt: skip


def test_a_chat() -> None:
    found = read(lines(word("Hi"), word(" you"), LAST), path="/api/chat", content_type=KIND, outcome="client_closed")
    assert (counts(found), found.finish_reason, found.outcome) == ((26, 298, 324), "stop", "ok")
    assert (found.content_events, found.stream, found.response_model) == (2, True, "llama3")
    assert found.raw_usage == {"prompt_eval_count": 26, "eval_count": 298, "eval_duration": 4709213000}


def test_no_counts_are_unknown_not_zero() -> None:
    body = lines({"model": "m", "response": "Hi", "done": False}, {"model": "m", "response": "", "done": True})
    found = read(body, path="/api/generate", content_type=KIND)
    assert (counts(found), found.usage_source, found.outcome) == ((None, None, None), "none", "ok")


def test_a_cache_hit_that_leaves_the_prompt_out_is_partial() -> None:
    last = {key: value for key, value in LAST.items() if key != "prompt_eval_count"}
    found = read(lines(word("a"), last), path="/api/chat", content_type=KIND)
    assert (counts(found), found.usage_source) == ((None, 298, None), "partial")


def test_an_error_line_after_200() -> None:
    found = read(lines(word("a"), {"error": "boom"}), path="/api/chat", content_type=KIND)
    assert (found.outcome, found.error_type) == ("stream_error", "other")


def test_thinking_and_tools_are_content() -> None:
    thought = {"message": {"content": "", "thinking": "hm"}, "done": False}
    call = {
        "message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        "done": False,
    }
    assert read(lines(thought, call, LAST), path="/api/chat", content_type=KIND).content_events == 2


def test_a_whole_answer() -> None:
    found = read(json.dumps(LAST | {"message": {"content": "Hi"}}).encode(), path="/api/chat",
                 content_type="application/json")  # fmt: skip
    assert (counts(found), found.stream) == ((26, 298, 324), False)


def test_embeddings_have_no_output() -> None:
    body = json.dumps({"model": "e", "embeddings": [[0.1, 0.2]], "prompt_eval_count": 8}).encode()
    found = read(body, path="/api/embed", content_type="application/json")
    assert (counts(found), found.usage_source) == ((8, None, 8), "provider")


def test_a_pretty_error_body_under_ndjson() -> None:
    body = json.dumps({"error": "model not found"}, indent=2).encode()
    found = read(body, path="/api/chat", content_type=KIND, status=404)
    assert (found.outcome, found.error_type, found.meter_fault) == ("upstream_error", "http_404", None)
