"""Reconciliation: the same meaning out of every provider's numbers, and nothing out of what is no number."""

from __future__ import annotations

import json
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings, strategies as st

from proxy.wire import usage as usage_rules
from proxy.wire.facts import merged
from proxy.wire.usage import MAX_RAW, Counts, charged, count_of, kept, nano_dollars, reconcile
from tests.proxy.metering import counts, read

VECTORS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "openai",
        {
            "prompt_tokens": 9,
            "completion_tokens": 12,
            "total_tokens": 21,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        {"input": 9, "output": 12, "total": 21, "cache_read": 0, "rules": []},
    ),
    (
        "openai reasoning inside",
        {
            "prompt_tokens": 9,
            "completion_tokens": 12,
            "total_tokens": 21,
            "completion_tokens_details": {"reasoning_tokens": 10},
        },
        {"output": 12, "reasoning": 10, "rules": []},
    ),
    (
        "anthropic",
        {"input_tokens": 3, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 2000, "output_tokens": 57},
        {"input": 2103, "output": 57, "total": 2160, "cache_read": 2000, "cache_write": 100, "rules": ["cache_added"]},
    ),
    (
        "databricks",
        {"prompt_tokens": 50, "completion_tokens": 5, "cache_read_input_tokens": 20},
        {"input": 50, "cache_read": 20},
    ),
    (
        "xai",
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 115,
            "completion_tokens_details": {"reasoning_tokens": 100},
            "cost_in_usd_ticks": 52500000,
        },
        {"input": 10, "output": 105, "reasoning": 100, "total": 115, "rules": ["reasoning_added"]},
    ),
    (
        "xai without total",
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "cost_in_usd_ticks": 1,
            "completion_tokens_details": {"reasoning_tokens": 100},
        },
        {"output": 105, "total": 115},
    ),
    (
        "xai cached above prompt",
        {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 64}},
        {"input": 74, "cache_read": 64, "rules": ["cached_outside_prompt"]},
    ),
    (
        "gemini",
        {"promptTokenCount": 4, "candidatesTokenCount": 6, "thoughtsTokenCount": 190, "totalTokenCount": 200},
        {"input": 4, "output": 196, "reasoning": 190, "total": 200},
    ),
    (
        "gemini without total",
        {"promptTokenCount": 4, "candidatesTokenCount": 6, "thoughtsTokenCount": 190},
        {"output": 196, "total": 200},
    ),
    (
        "gemini thoughts inside",
        {"promptTokenCount": 4, "candidatesTokenCount": 196, "thoughtsTokenCount": 190, "totalTokenCount": 200},
        {"output": 196, "rules": []},
    ),
    (
        "gemini tools",
        {
            "promptTokenCount": 4,
            "candidatesTokenCount": 6,
            "toolUsePromptTokenCount": 10,
            "thoughtsTokenCount": 5,
            "totalTokenCount": 25,
            "cachedContentTokenCount": 2,
        },
        {"input": 14, "output": 11, "cache_read": 2, "total": 25},
    ),
    (
        "gemini only thoughts",
        {"promptTokenCount": 4, "thoughtsTokenCount": 50, "totalTokenCount": 54},
        {"input": 4, "output": 50, "reasoning": 50},
    ),
    (
        "mistral",
        {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11, "num_cached_tokens": 3},
        {"cache_read": 3},
    ),
    (
        "mistral singular",
        {"prompt_tokens": 5, "completion_tokens": 6, "prompt_token_details": {"cached_tokens": 2}},
        {"cache_read": 2},
    ),
    (
        "deepseek",
        {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5},
        {"cache_read": 4, "input": 9},
    ),
    ("moonshot", {"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 8}, {"cache_read": 8}),
    (
        "bedrock",
        {"inputTokens": 30, "outputTokens": 628, "totalTokens": 658, "cacheReadInputTokens": 5},
        {"input": 35, "output": 628, "total": 658, "cache_read": 5},
    ),
    (
        "cohere",
        {"billed_units": {"input_tokens": 3.0, "output_tokens": 9.0}, "tokens": {"input_tokens": 496.0}},
        {"input": 3, "output": 9, "total": 12},
    ),
    ("llama.cpp", {"cache_n": 20, "prompt_n": 6, "predicted_n": 26}, {"input": 26, "output": 26, "cache_read": 20}),
    ("ollama", {"prompt_eval_count": 26, "eval_count": 298}, {"input": 26, "output": 298, "total": 324}),
    (
        "lm studio",
        {"total_input_tokens": 5, "total_output_tokens": 6, "reasoning_output_tokens": 2},
        {"input": 5, "output": 6},
    ),
    (
        "interactions",
        {"total_input_tokens": 5, "total_output_tokens": 6, "total_thought_tokens": 4, "total_tokens": 15},
        {"output": 10, "reasoning": 4, "total": 15},
    ),
    (
        "mismatch",
        {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 99},
        {"total": 99, "rules": ["total_mismatch"]},
    ),
    ("output left out", {"prompt_tokens": 5, "total_tokens": 5}, {"output": 0, "rules": ["output_from_total"]}),
    (
        "clamped",
        {
            "input_tokens": 5,
            "output_tokens": 6,
            "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
            "output_tokens_details": {"reasoning_tokens": 60},
        },
        {"cache_read": 5, "cache_write": 0, "reasoning": 6, "rules": ["cache_clamped", "reasoning_clamped"]},
    ),
]


@pytest.mark.parametrize(("usage", "expected"), [v[1:] for v in VECTORS], ids=[v[0] for v in VECTORS])
def test_every_shape_means_the_same(usage: dict[str, Any], expected: dict[str, Any]) -> None:
    found = reconcile(usage)
    assert {name: getattr(found, name) for name in expected} == expected
    assert not found.refused


POISON = [
    "-1",
    "9223372036854775808",
    "1e400",
    "1.5",
    '"12"',
    "true",
    "false",
    "[]",
    "{}",
    "NaN",
    "-Infinity",
    "9" * 5000,
]


@pytest.mark.parametrize("poison", POISON, ids=lambda text: text[:12])
@pytest.mark.parametrize("streamed", [True, False])
def test_what_is_no_count_is_refused_and_noted(poison: str, streamed: bool) -> None:
    body = (
        b'{"model":"m","choices":[],"usage":{"prompt_tokens":%s,"completion_tokens":7,"total_tokens":12}}'
        % poison.encode()
    )
    found = read(
        b"data: " + body + b"\n\n" if streamed else body,
        content_type="text/event-stream" if streamed else "application/json",
    )
    assert (found.input_tokens, found.output_tokens, found.total_tokens) == (None, 7, 12)
    assert (found.meter_fault, found.usage_source, found.response_model) == ("usage_number", "partial", "m")
    json.dumps(found.raw_usage, allow_nan=False)


@pytest.mark.parametrize(("number", "count"), [("0", 0), ("6.0", 6), ("9007199254740992", 1 << 53)])
def test_integral_numbers_are_counts(number: str, count: int) -> None:
    body = b'{"choices":[],"usage":{"prompt_tokens":%s,"completion_tokens":0}}' % number.encode()
    found = read(body, content_type="application/json")
    assert (counts(found), found.usage_source, found.meter_fault) == ((count, 0, count), "provider", None)


@pytest.mark.parametrize("usage", ["null", "{}", '{"prompt_tokens":null,"completion_tokens":null}'])
def test_null_is_unknown_not_zero(usage: str) -> None:
    found = read(b'{"choices":[],"usage":%s}' % usage.encode(), content_type="application/json")
    assert (counts(found), found.usage_source, found.meter_fault) == ((None, None, None), "none", None)


@pytest.mark.parametrize("usage", ["7", '"x"', "[1]", "true"])
def test_usage_of_a_wrong_type_is_noted(usage: str) -> None:
    found = read(b'{"choices":[],"usage":%s}' % usage.encode(), content_type="application/json")
    assert (counts(found), found.meter_fault) == ((None, None, None), "usage_type")


def test_bool_is_no_count() -> None:
    assert count_of(True) is None


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.00125}, 1_250_000),
        ({"cost": {"total_cost": 0.006}}, 6_000_000),
        ({"cost_in_usd_ticks": 52500000}, 5_250_000),
        ({"estimated_cost": 1e-9}, 1),
        ({"cost": 0}, 0),
        ({"cost": "0.5"}, 500_000_000),
        ({"cost": -1}, None),
        ({"cost": True}, None),
        ({"cost": float("nan")}, None),
        ({"cost": 1e9}, None),
        ({"cost": []}, None),
        ({}, None),
    ],
)
def test_money_is_what_the_provider_says(usage: dict[str, Any], cost: int | None) -> None:
    assert charged(usage) == cost


@pytest.mark.parametrize(
    ("text", "nano"), [("0.00031", 310_000), ("", None), ("x", None), ("inf", None), ("nan", None)]
)
def test_a_header_is_money_too(text: str, nano: int | None) -> None:
    assert nano_dollars(text) == nano


def test_only_numbers_and_short_names_are_kept() -> None:
    usage = {
        "prompt_tokens": 1,
        "tier": "standard",
        "prompt": "secret " * 20,
        "k" * 65: 1,
        "n": None,
        "b": True,
        "inf": float("inf"),
        "big": 1 << 70,
        "list": [{"modality": "TEXT", "tokenCount": 3}, "text"],
        "deep": {"a": {"b": {"c": {"d": {"e": 1}}}}},
    }
    assert kept(usage) == {
        "prompt_tokens": 1,
        "tier": "standard",
        "n": None,
        "b": True,
        "list": [{"modality": "TEXT", "tokenCount": 3}],
        "deep": {"a": {"b": {"c": {}}}},
    }
    assert kept({f"key{n}": n for n in range(5000)}) is None
    assert kept({}) == {}


numbers = st.none() | st.booleans() | st.integers(-2, 1 << 66) | st.floats() | st.text(max_size=100)
WORDS = [
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "totalTokenCount",
    "toolUsePromptTokenCount",
    "inputTokens",
    "outputTokens",
    "cacheReadInputTokens",
    "prompt_eval_count",
    "eval_count",
    "reasoning_tokens",
    "cached_tokens",
    "cost",
    "prompt_n",
    "cache_n",
    "predicted_n",
    "total_input_tokens",
    "cost_in_usd_ticks",
]
flat = st.dictionaries(st.sampled_from(WORDS), numbers | st.integers(0, 300), max_size=8)
usages = st.dictionaries(
    st.sampled_from([*WORDS, "prompt_tokens_details", "completion_tokens_details", "billed_units"]),
    st.integers(0, 300) | numbers | flat,
    max_size=8,
)


@given(usage=usages)
@settings(max_examples=500, deadline=None)
def test_parts_never_exceed_their_whole(usage: dict[str, Any]) -> None:
    found = reconcile(usage)
    if found.input is not None:
        assert (found.cache_read or 0) + (found.cache_write or 0) <= found.input
    if found.output is not None and found.reasoning is not None:
        assert found.reasoning <= found.output
    assert all(
        value is None or (type(value) is int and value >= 0)
        for value in (found.input, found.output, found.total, found.cache_read, found.cache_write, found.reasoning)
    )
    assert charged(usage) is None or charged(usage) >= 0  # type: ignore[operator]


@given(usage=usages)
@settings(max_examples=300, deadline=None)
def test_what_is_kept_can_be_stored(usage: dict[str, Any]) -> None:
    assert len(json.dumps(kept(usage), allow_nan=False)) <= MAX_RAW * 6


@given(first=flat, second=flat)
def test_merging_keeps_the_last_non_null(first: dict[str, Any], second: dict[str, Any]) -> None:
    both = merged(first, second)
    for key in first.keys() | second.keys():
        expected = second.get(key) if second.get(key) is not None else first.get(key)
        assert both.get(key) is expected


ORACLE = [
    (
        "openai",
        "chat",
        {
            "model": "gpt-4o",
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 60,
                "total_tokens": 160,
                "prompt_tokens_details": {"cached_tokens": 40},
                "completion_tokens_details": {"reasoning_tokens": 10},
            },
        },
    ),
    (
        "openai",
        "responses",
        {
            "model": "gpt-5",
            "usage": {
                "input_tokens": 36,
                "input_tokens_details": {"cached_tokens": 12},
                "output_tokens": 87,
                "output_tokens_details": {"reasoning_tokens": 64},
                "total_tokens": 123,
            },
        },
    ),
    (
        "anthropic",
        "default",
        {
            "model": "claude-sonnet-4-20250514",
            "usage": {
                "input_tokens": 3,
                "cache_creation_input_tokens": 100,
                "cache_read_input_tokens": 2000,
                "output_tokens": 57,
            },
        },
    ),
    (
        "google",
        "default",
        {
            "modelVersion": "gemini-2.5-flash",
            "usageMetadata": {
                "promptTokenCount": 40,
                "cachedContentTokenCount": 10,
                "candidatesTokenCount": 6,
                "thoughtsTokenCount": 190,
                "totalTokenCount": 236,
            },
        },
    ),
    (
        "groq",
        "default",
        {"model": "llama-3.1-8b-instant", "usage": {"prompt_tokens": 18, "completion_tokens": 25, "total_tokens": 43}},
    ),
    (
        "mistral",
        "default",
        {"model": "mistral-large-latest", "usage": {"prompt_tokens": 18, "completion_tokens": 25, "total_tokens": 43}},
    ),
    (
        "x-ai",
        "chat",
        {
            "model": "grok-4",
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 115,
                "completion_tokens_details": {"reasoning_tokens": 100},
            },
        },
    ),
]


@pytest.mark.parametrize(("provider", "flavor", "body"), ORACLE, ids=[f"{row[0]}-{row[1]}" for row in ORACLE])
def test_genai_prices_reads_the_same(provider: str, flavor: str, body: dict[str, Any]) -> None:
    theirs = get_snapshot().extract_usage(body, provider_id=provider, api_flavor=flavor).usage
    ours = reconcile(body.get("usage") or body["usageMetadata"])
    assert (ours.input, ours.output) == (theirs.input_tokens, theirs.output_tokens)
    assert (ours.cache_read or 0, ours.cache_write or 0) == (
        theirs.cache_read_tokens or 0,
        theirs.cache_write_tokens or 0,
    )


NUMBERS = st.one_of(st.integers(0, 40), st.sampled_from([None, True, -1, 2**53, 2**53 + 1, 1.0, "3"]))
DETAILS = st.one_of(
    st.none(),
    st.just([]),
    st.dictionaries(
        st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens", "thinking_tokens", "audio_tokens"]),
        NUMBERS,
        max_size=3,
    ),
)


@settings(max_examples=600)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": NUMBERS,
            "completion_tokens": NUMBERS,
            "total_tokens": NUMBERS,
            "prompt_tokens_details": DETAILS,
            "completion_tokens_details": DETAILS,
            "cached_tokens": NUMBERS,
        },
    ),
    st.booleans(),
)
def test_the_short_way_for_usual_objects_gives_what_the_rules_give(usage: dict[str, Any], fits: bool) -> None:
    whole = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    if fits and type(whole[0]) is int and type(whole[1]) is int:
        usage["total_tokens"] = whole[0] + whole[1]
    by_rules = Counts()
    usage_rules._openai(usage, by_rules)
    usage_rules._derive_output(by_rules)
    usage_rules._clamp(by_rules)
    short = Counts()
    if usage_rules._usual(usage, short):
        assert all(getattr(short, name) == getattr(by_rules, name) for name in Counts.__slots__)
        assert (short.rules, short.refused) == ([], False)


def test_the_object_that_openai_sends_goes_the_short_way() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 12,
        "total_tokens": 21,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    assert usage_rules._usual(usage, Counts())
