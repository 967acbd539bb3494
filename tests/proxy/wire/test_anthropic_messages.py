"""Anthropic Messages."""

from __future__ import annotations

import json

from tests.proxy.metering import counts, named, read

PATH = "/v1/messages"
START = {"type": "message_start", "message": {"id": "msg_1", "model": "claude-x", "usage": {
    "input_tokens": 3, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 2000, "output_tokens": 1,
    "service_tier": "standard"}}}  # fmt: skip
PING = {"type": "ping"}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 57}}
STOP = {"type": "message_stop"}


def test_the_halves_of_usage_are_merged() -> None:
    found = read(named(START, PING, TEXT, END, STOP), path=PATH)
    assert (counts(found), found.cache_read_tokens, found.cache_write_tokens) == ((2103, 57, 2160), 2000, 100)
    assert (found.usage_source, found.usage_rules) == ("provider", "cache_added")
    assert (found.response_model, found.response_id, found.service_tier) == ("claude-x", "msg_1", "standard")
    assert (found.finish_reason, found.content_events, found.outcome) == ("end_turn", 1, "ok")


def test_pings_starts_and_seals_are_no_content() -> None:
    seal = {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "abc"}}
    block = {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}
    assert read(named(START, block, PING, seal, END, STOP), path=PATH).content_events == 0


def test_thinking_and_tools_are_content() -> None:
    thought = {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}}
    tool = {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f", "input": {}}}
    args = {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{}"}}
    assert read(named(START, thought, tool, args, END, STOP), path=PATH).content_events == 3


def test_the_client_may_leave_after_message_stop() -> None:
    assert read(named(START, TEXT, END, STOP), path=PATH, outcome="client_closed").outcome == "ok"
    assert read(named(START, TEXT, END), path=PATH, outcome="client_closed").outcome == "client_closed"


def test_the_output_of_message_start_is_a_placeholder() -> None:
    found = read(named(START, TEXT), path=PATH, outcome="upstream_cut")
    assert (counts(found), found.usage_source) == ((2103, None, None), "partial")


def test_a_vendor_that_never_restates_usage_meant_the_first() -> None:
    assert counts(read(named(START, TEXT, STOP), path=PATH)) == (2103, 1, 2104)


def test_an_error_after_200() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    found = read(named(START, TEXT, error), path=PATH)
    assert (found.outcome, found.error_type, found.usage_source) == ("stream_error", "overloaded_error", "partial")


def test_a_whole_message() -> None:
    body = json.dumps({
        "type": "message", "id": "msg_2", "model": "claude-x", "stop_reason": "tool_use",
        "content": [{"type": "text", "text": "a"}, {"type": "tool_use", "name": "f", "input": {"x": 1}}],
        "usage": {"input_tokens": 412, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 128,
                  "output_tokens": 34, "output_tokens_details": {"thinking_tokens": 4}},
    }).encode()  # fmt: skip
    found = read(body, path=PATH, content_type="application/json")
    assert (counts(found), found.cache_read_tokens, found.reasoning_tokens) == ((540, 34, 574), 128, 4)
    assert (found.stream, found.ttft_us, found.finish_reason) == (False, None, "tool_use")


def test_an_error_answer() -> None:
    body = json.dumps({"type": "error", "error": {"type": "rate_limit_error", "message": "…"}}).encode()
    found = read(body, path=PATH, content_type="application/json", status=429)
    assert (found.outcome, found.error_type) == ("upstream_error", "rate_limit_error")
