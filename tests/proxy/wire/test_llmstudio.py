"""LLMstudio's engine, old and new."""

from __future__ import annotations

import json

from proxy.wire.facts import Facts
from proxy.wire.llmstudio import trailer
from tests.proxy.metering import counts, read

PATH = "/api/engine/chat/openai"


def test_metrics_serve_where_usage_is_null() -> None:
    body = json.dumps(
        {
            "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
            "usage": None,
            "metrics": {"input_tokens": 6, "output_tokens": 26, "total_tokens": 32, "cost_usd": 6.1e-05},
        }
    )
    found = read(body.encode(), path=PATH, content_type="application/json")
    assert (counts(found), found.usage_source, found.reported_cost_nusd) == ((6, 26, 32), "provider", None)


def test_usage_comes_before_metrics() -> None:
    body = json.dumps(
        {"choices": [], "usage": {"prompt_tokens": 13, "completion_tokens": 26}, "metrics": {"input_tokens": 6}}
    )
    assert counts(read(body.encode(), path=PATH, content_type="application/json")) == (13, 26, 39)


def test_bare_text_is_a_stream_and_its_emoji_may_be_cut() -> None:
    text = "Grüße 🙂!".encode()
    found = read(*(text[at : at + 1] for at in range(len(text))), path=PATH, content_type="")
    assert (found.stream, found.ttft_us, found.meter_fault) == (True, 100_000, None)
    assert found.content_events == found.chunks == len(text)


def test_the_old_trailer_is_read_and_not_counted_as_text() -> None:
    found = read(
        b"Hello",
        b"<END_",
        b"TOKEN>,input_tokens=6,output_tokens=26,cost=0.00006,latency=1.05",
        path=PATH,
        content_type="",
    )
    assert (counts(found), found.usage_source) == ((6, 26, 32), "provider")
    assert trailer("Hello<END_TOKEN>,input_tokens=6", Facts()) == "Hello"
    assert trailer("no trailer, input_tokens=6", facts := Facts()) == "no trailer, input_tokens=6"
    assert facts.usage is None


def test_a_page_of_text_with_a_length_is_no_stream() -> None:
    found = read(b"Hello", path=PATH, content_type="", headers=((b"Content-Length", b"5"),))
    assert (found.stream, found.content_events) == (False, 0)
