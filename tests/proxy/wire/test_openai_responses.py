"""The Responses API."""

from __future__ import annotations

import json
from typing import Any

from tests.proxy.metering import counts, named, read

PATH = "/v1/responses"
USAGE = {
    "input_tokens": 36, "input_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 4}, "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 64}, "total_tokens": 123,
}  # fmt: skip


def response(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "model": "gpt-5", "status": status, "usage": None, **more}


CREATED = {"type": "response.created", "response": response("in_progress")}
DELTA = {"type": "response.output_text.delta", "delta": "Hi"}
DONE = {"type": "response.completed", "response": response("completed", usage=USAGE, service_tier="default")}


def test_a_stream() -> None:
    found = read(named(CREATED, DELTA, DELTA, {"type": "response.output_text.done", "text": "HiHi"}, DONE), path=PATH)
    assert (counts(found), found.cache_read_tokens, found.cache_write_tokens) == ((36, 87, 123), 12, 4)
    assert (found.reasoning_tokens, found.usage_source, found.service_tier) == (64, "provider", "default")
    assert (found.response_id, found.response_model, found.finish_reason) == ("resp_1", "gpt-5", "completed")
    assert found.content_events == 2


def test_content_of_every_kind() -> None:
    found = read(
        named(
            CREATED,
            {"type": "response.reasoning_summary_text.delta", "delta": "hm"},
            {"type": "response.output_item.added", "item": {"type": "function_call", "name": "f", "arguments": ""}},
            {"type": "response.function_call_arguments.delta", "delta": "{}"},
            {"type": "response.refusal.delta", "delta": "no"},
            {"type": "response.audio.delta", "delta": "UklGRg=="},
            {"type": "response.image_generation_call.partial_image", "partial_image_b64": "AAAA"},
            {"type": "response.output_item.added", "item": {"type": "message"}},
            {"type": "response.in_progress", "response": response("in_progress")},
            DONE,
        ),
        path=PATH,
    )
    assert found.content_events == 6


def test_the_client_may_leave_after_the_last_event() -> None:
    assert read(named(CREATED, DELTA, DONE), path=PATH, outcome="client_closed").outcome == "ok"
    assert read(named(CREATED, DELTA), path=PATH, outcome="client_closed").outcome == "client_closed"


def test_an_incomplete_response_says_why() -> None:
    last = {"type": "response.incomplete", "response": response(
        "incomplete", usage=USAGE, incomplete_details={"reason": "max_output_tokens"})}  # fmt: skip
    found = read(named(CREATED, DELTA, last), path=PATH)
    assert (found.outcome, found.finish_reason) == ("ok", "max_output_tokens")


def test_a_failed_response_is_a_stream_error() -> None:
    last = {"type": "response.failed", "response": response("failed", error={"code": "rate_limit_exceeded"})}
    found = read(named(CREATED, last), path=PATH)
    assert (found.outcome, found.error_type) == ("stream_error", "rate_limit_exceeded")


def test_an_error_event_is_a_stream_error() -> None:
    found = read(named(CREATED, {"type": "error", "code": "server_error", "message": "…"}), path=PATH)
    assert (found.outcome, found.error_type) == ("stream_error", "server_error")


def test_a_whole_response() -> None:
    output = [{"type": "reasoning", "summary": [{"text": "hm"}]},
              {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}]  # fmt: skip
    body = json.dumps(response("completed", usage=USAGE, output=output, error=None)).encode()
    found = read(body, path=PATH, content_type="application/json")
    assert (counts(found), found.outcome, found.stream) == ((36, 87, 123), "ok", False)


def test_a_response_in_the_background_has_no_usage_yet() -> None:
    found = read(json.dumps(response("queued")).encode(), path=PATH, content_type="application/json")
    assert (counts(found), found.usage_source, found.outcome) == ((None, None, None), "none", "ok")


def test_a_last_event_of_megabytes_still_says_what_it_cost() -> None:
    big = [{"type": "message", "content": [{"type": "output_text", "text": "x" * (2 << 20)}]}]
    last = {"type": "response.completed", "response": response("completed", output=big) | {"usage": USAGE}}
    found = read(named(CREATED, DELTA, last), path=PATH)
    assert (counts(found), found.meter_fault) == ((36, 87, 123), "line_too_long")
