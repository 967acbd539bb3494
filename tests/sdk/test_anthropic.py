"""The official Anthropic client, pointed at weir by its base URL alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import anthropic
import pytest

from tests.plugins.weir_books import Books

Headers = Mapping[str, str]
MODEL = "claude-sonnet-4-6"
HELLO: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "What is a weir?"}]}]


def client(base: str, headers: Headers) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=base, api_key="sk-ant", default_headers=headers, max_retries=0, timeout=20)


def create(base: str, headers: Headers, **more: Any) -> Any:
    with client(base, headers) as sdk:
        message = sdk.messages.create(model=MODEL, max_tokens=500, messages=HELLO, system="Be brief.", **more)
        return message.model_dump()


def stream(base: str, headers: Headers) -> Any:
    with client(base, headers) as sdk, sdk.messages.stream(model=MODEL, max_tokens=500, messages=HELLO) as events:
        return list(events.text_stream), events.get_final_message().model_dump()


def raw_stream(base: str, headers: Headers) -> Any:
    with client(base, headers) as sdk:
        events = sdk.messages.create(model=MODEL, max_tokens=500, messages=HELLO, stream=True)
        return [event.model_dump() for event in events]


def test_message(books: Books) -> None:
    both = books.balanced("anthropic", create)
    assert both.row["response_model"] == MODEL
    assert both.row["finish_reason"]
    assert both.row["upstream_request_id"].startswith("req_")


def test_message_with_cache_and_thinking(books: Books) -> None:
    steering = {"tokens_in": 2103, "tokens_out": 57, "tokens_cached": 2000, "tokens_cache_write": 100}
    both = books.balanced("anthropic", create, **steering, tokens_reasoning=20)
    assert both.result["usage"]["input_tokens"] == 3
    assert both.row["input_tokens"] == 2103
    assert (both.row["cache_read_tokens"], both.row["cache_write_tokens"]) == (2000, 100)


def test_message_stream(books: Books) -> None:
    both = books.balanced("anthropic", stream, tokens_out=25, gap_ms=2)
    pieces, message = both.result
    assert len(pieces) == message["usage"]["output_tokens"] == both.row["output_tokens"] == 25
    assert both.row["ttft_ms"] is not None
    assert both.row["chunks"] == both.entry["events"]


def test_message_stream_with_cache(books: Books) -> None:
    books.balanced("anthropic", raw_stream, tokens_in=2103, tokens_cached=2000, tokens_cache_write=100)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_message_in_each_content_coding(books: Books, encoding: str) -> None:
    books.balanced("anthropic", create, encoding=encoding)


def test_async_message_stream(books: Books) -> None:
    async def call(base: str, headers: Headers) -> Any:
        async with anthropic.AsyncAnthropic(base_url=base, api_key="sk-ant", default_headers=headers) as sdk:
            async with sdk.messages.stream(model=MODEL, max_tokens=500, messages=HELLO) as events:
                return (await events.get_final_message()).model_dump()

    books.balanced("anthropic", lambda base, headers: asyncio.run(call(base, headers)))


def test_async_message(books: Books) -> None:
    async def call(base: str, headers: Headers) -> Any:
        async with anthropic.AsyncAnthropic(base_url=base, api_key="sk-ant", default_headers=headers) as sdk:
            return (await sdk.messages.create(model=MODEL, max_tokens=500, messages=HELLO)).model_dump()

    books.balanced("anthropic", lambda base, headers: asyncio.run(call(base, headers)))


def test_counting_tokens_is_not_usage(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with client(base, headers) as sdk:
            return sdk.messages.count_tokens(model=MODEL, messages=HELLO).model_dump()

    both = books.twice("anthropic", call)
    assert both.result["input_tokens"] == both.entry["input_tokens"]
    assert both.row["outcome"] == "ok"
    assert (both.row["input_tokens"], both.row["usage_source"]) == (None, "none")


@pytest.mark.parametrize(("status", "kind"), [(401, "authentication_error"), (429, "rate_limit_error")])
def test_errors_look_the_same(books: Books, status: int, kind: str) -> None:
    def call(base: str, headers: Headers) -> Any:
        with pytest.raises(anthropic.APIStatusError) as caught:
            create(base, headers)
        return type(caught.value), str(caught.value)

    both = books.twice("anthropic", call, fault=f"status={status}")
    assert (both.row["outcome"], both.row["http_status"], both.row["error_type"]) == ("upstream_error", status, kind)


def test_an_error_within_a_stream_looks_the_same(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with pytest.raises(anthropic.APIStatusError) as caught:
            raw_stream(base, headers)
        return type(caught.value), str(caught.value)

    both = books.twice("anthropic", call, fault="error-event-after=5")
    assert both.row["outcome"] == "stream_error"
    assert both.row["error_type"] == "overloaded_error"
    assert both.row["input_tokens"] == both.entry["input_tokens"]
