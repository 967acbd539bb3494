"""Chat completions and everything shaped like them (vectors of OpenAI, Groq, Moonshot, llama.cpp, OpenRouter …)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.wire.facts import Facts
from proxy.wire.openai_chat import read as fold
from tests.proxy.metering import counts, events, read, said

USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}


def content(delta: Any) -> tuple[bool, str]:
    facts = Facts()
    return fold({"choices": [{"index": 0, "delta": delta}]}, facts), facts.output()


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        ({"content": "Hi"}, "Hi"),
        ({"content": "Hi", "role": "assistant", "name": None}, "Hi"),
        ({"reasoning_content": "hm"}, "hm"),
        ({"reasoning": "hm", "content": ""}, None),
        ({"content": None, "reasoning": "hm"}, "hm"),
        ({"content": "", "refusal": "no"}, "no"),
        ({"role": "assistant", "tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}, "f"),
        ({"tool_calls": [{"function": {"arguments": '{"a"'}}], "content": None}, '{"a"'),
        ({"function_call": {"name": "g", "arguments": "{}"}, "content": None}, "g{}"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": [{"text": "b"}]}], "r": 1}, "ab"),
        ({"audio": {"transcript": "la", "data": "UklGRg=="}, "content": None}, "la"),
        ({"audio": {"data": "UklGRg=="}, "content": None}, ""),
        ({"reasoning": "hm", "reasoning_details": [{"text": "hm"}]}, "hm"),
    ],
)
def test_what_speaks_is_content(delta: dict[str, Any], text: str | None) -> None:
    assert content(delta) == (True, "hm" if text is None else text)


@pytest.mark.parametrize(
    "delta",
    [
        {},
        None,
        7,
        "x",
        [],
        {"role": "assistant"},
        {"content": ""},
        {"content": None, "role": "assistant"},
        {"content": 5},
        {"audio": {"expires_at": 1}, "content": None},
        {"tool_calls": [{"index": 0}], "x": 1},
        {"content": [], "x": 1},
        {"tool_calls": "x", "y": 1},
        {"obfuscation": "abc", "content": ""},
    ],
)
def test_what_says_nothing_is_none(delta: Any) -> None:
    assert content(delta) == (False, "")


@pytest.mark.parametrize("event", [{}, {"choices": None}, {"choices": {}}, {"choices": [None, 4]}, {"choices": []}])
def test_choices_may_be_missing(event: dict[str, Any]) -> None:
    assert fold(event, Facts()) is False


def test_usage_comes_in_a_chunk_of_its_own() -> None:
    found = read(events(said("a"), said("", finish_reason="stop"), {"choices": [], "usage": USAGE}))
    assert (counts(found), found.usage_source, found.finish_reason) == ((9, 12, 21), "provider", "stop")
    assert found.raw_usage == USAGE


def test_repeated_usage_is_cumulative_and_the_last_counts() -> None:
    chunks = [said(text) | {"usage": {"prompt_tokens": 9, "completion_tokens": n}} for n, text in enumerate("abc", 1)]
    assert counts(read(events(*chunks))) == (9, 3, 12)


@pytest.mark.parametrize("late", [None, {"prompt_tokens": None, "completion_tokens": None}, {}])
def test_a_null_does_not_undo_a_number(late: Any) -> None:
    found = read(events({"choices": [], "usage": USAGE}, {"choices": [], "usage": late}))
    assert counts(found) == (9, 12, 21)


def test_groqs_usage_counts_once_and_alone_if_need_be() -> None:
    last = {"choices": [{"delta": {}, "finish_reason": "stop"}], "x_groq": {"id": "r", "usage": USAGE}}
    assert counts(read(events(said("a"), last))) == (9, 12, 21)
    assert counts(read(events(said("a"), last | {"usage": USAGE}))) == (9, 12, 21)


def test_moonshots_usage_is_inside_the_choice() -> None:
    assert counts(read(events({"choices": [{"delta": {}, "finish_reason": "stop", "usage": USAGE}]}))) == (9, 12, 21)


def test_llama_cpps_timings_serve_when_usage_is_absent() -> None:
    timings = {"cache_n": 20, "prompt_n": 6, "predicted_n": 26, "predicted_ms": 12.5}
    last = {"choices": [{"delta": {}, "finish_reason": "stop"}], "timings": timings}
    found = read(events(said("a"), last))
    assert (counts(found), found.cache_read_tokens, found.usage_rules) == ((26, 26, 52), 20, "cache_added")
    assert counts(read(events(said("a"), last | {"usage": USAGE}))) == (9, 12, 21)


def test_openrouters_error_in_the_stream() -> None:
    last = {"choices": [{"delta": {"content": ""}, "finish_reason": "error"}], "error": {"code": 502, "message": "…"}}
    found = read(b": OPENROUTER PROCESSING\n\n" + events(said("a"), last))
    assert (found.outcome, found.error_type, found.finish_reason) == ("stream_error", "http_502", "error")


def test_an_error_object_in_a_whole_answer_is_one() -> None:
    body = json.dumps({"error": {"code": 429, "message": "…"}}).encode()
    assert read(body, content_type="application/json").outcome == "stream_error"


def test_llama_cpps_error_before_the_end() -> None:
    found = read(events(said("a"), {"error": {"type": "server_error"}}, end=b""))
    assert (found.outcome, found.error_type) == ("stream_error", "server_error")


def test_azures_first_chunk_has_an_empty_model() -> None:
    first = {"choices": [], "model": "", "id": "", "prompt_filter_results": []}
    found = read(events(first, said("a")), path="/openai/deployments/d/chat/completions")
    assert (found.request_model, found.response_model, found.response_id) == ("d", "m", "c1")


def test_several_choices_are_kept_apart() -> None:
    facts = Facts()
    for index, text in ((0, "a"), (1, "x"), (0, "b"), (1, "y")):
        fold({"choices": [{"index": index, "delta": {"content": text}}]}, facts)
    assert facts.output() == "ab\nxy"


def test_usage_beside_the_last_word_of_one_of_several_is_not_the_end() -> None:
    first = {"choices": [{"index": 1, "delta": {"content": "x"}}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE}
    assert read(events(first, last, end=b""), outcome="client_closed").outcome == "client_closed"
    assert read(events(said("x"), last, end=b""), outcome="client_closed").outcome == "ok"


def test_legacy_completions_have_text() -> None:
    chunk = {"choices": [{"text": "Hi", "index": 0, "finish_reason": None}]}
    found = read(events(chunk, chunk), path="/v1/completions")
    assert (found.content_events, found.stream) == (2, True)


def test_ktransformers_speaks_without_a_space() -> None:
    body = (
        b'data:{"id":"x","model":"not implmented","usage":null,"choices":[{"index":0,"delta":{"content":"Why "}}]}'
        b"\n\nevent: done\ndata: [DONE]\n\n"
    )
    found = read(body, asked=b'{"model":"Meta-Llama-3-8B-Instruct"}')
    assert (found.request_model, found.response_model) == ("Meta-Llama-3-8B-Instruct", "not implmented")
    assert (found.content_events, found.usage_source, found.meter_fault) == (1, "none", None)


def test_the_tier_is_the_answers() -> None:
    assert read(events(said("a") | {"service_tier": "priority"})).service_tier == "priority"


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"data: [ DONE]\n\n", b"data:[DONE]", b"data: [DONE]x\n\n"])
def test_every_spelling_of_done_is_the_end(end: bytes) -> None:
    found = read(events(said("a"), end=end), outcome="client_closed")
    assert (found.outcome, found.meter_fault) == ("ok", None)


def test_deepseeks_blank_lines_come_before_the_json() -> None:
    body = json.dumps({"choices": [{"message": {"content": "a"}}], "usage": USAGE}).encode()
    found = read(b"\n\n", b"\n\n" + body, content_type="application/json")
    assert (counts(found), found.stream, found.content_events) == ((9, 12, 21), False, 1)
