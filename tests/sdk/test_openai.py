"""The official OpenAI client, pointed at weir by its base URL alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import httpx2
import openai
import pytest

from tests.plugins.weir_books import Books

Headers = Mapping[str, str]
HELLO: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a weir?"}]
BROKEN = (openai.APIConnectionError, httpx.TransportError, httpx2.TransportError)
TOOLS: list[Any] = [{"type": "function", "function": {"name": "measure", "parameters": {"type": "object"}}}]


def client(base: str, headers: Headers) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{base}/v1", api_key="sk-test", default_headers=headers, max_retries=0, timeout=20)


def chat(base: str, headers: Headers, **more: Any) -> Any:
    with client(base, headers) as sdk:
        return sdk.chat.completions.create(model="gpt-4o", messages=HELLO, **more).model_dump()


def chat_stream(base: str, headers: Headers, **more: Any) -> Any:
    with client(base, headers) as sdk:
        stream = sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, **more)
        return [chunk.model_dump() for chunk in stream]


def with_usage(base: str, headers: Headers) -> Any:
    return chat_stream(base, headers, stream_options={"include_usage": True})


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk["choices"][0]["delta"]["content"] or "" for chunk in chunks if chunk["choices"])


def test_chat(books: Books) -> None:
    both = books.balanced("openai", chat)
    assert both.row["response_model"] == "gpt-4o"
    assert both.row["operation"] == "chat"
    assert both.row["finish_reason"] == "stop"
    assert both.row["upstream_request_id"].startswith("req_")


def test_chat_with_cached_and_reasoning_tokens(books: Books) -> None:
    both = books.balanced("openai", chat, tokens_in=2000, tokens_out=300, tokens_cached=1536, tokens_reasoning=256)
    assert (both.row["cache_read_tokens"], both.row["reasoning_tokens"]) == (1536, 256)
    assert both.result["usage"]["prompt_tokens_details"]["cached_tokens"] == 1536


def test_chat_cut_by_its_limit(books: Books) -> None:
    both = books.balanced("openai", lambda base, headers: chat(base, headers, max_completion_tokens=5))
    assert (both.row["output_tokens"], both.row["finish_reason"]) == (5, "length")


def test_chat_stream_with_usage(books: Books) -> None:
    both = books.balanced("openai", with_usage, tokens_out=20, gap_ms=2)
    assert both.result[-1]["usage"]["completion_tokens"] == 20
    assert both.row["output_tokens"] == 20
    assert 0 < both.row["ttft_ms"] <= both.row["duration_ms"]
    assert both.row["inter_token_ms"] > 1
    assert both.row["chunks"] == both.entry["events"]


def test_chat_stream_without_usage_is_estimated(books: Books) -> None:
    both = books.balanced("openai", chat_stream, tokens_out=30)
    assert text_of(both.result)
    assert both.row["usage_source"] == "estimated"
    assert 15 <= both.row["output_tokens"] <= 120


def test_chat_that_calls_a_tool(books: Books) -> None:
    both = books.balanced("openai", lambda b, h: chat(b, h, tools=TOOLS, tool_choice="required"))
    assert both.row["finish_reason"] == "tool_calls"


def test_chat_stream_that_calls_a_tool(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        return chat_stream(base, headers, tools=TOOLS, tool_choice="required", stream_options={"include_usage": True})

    both = books.balanced("openai", call)
    assert both.row["finish_reason"] == "tool_calls"
    assert both.row["ttft_ms"] is not None


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_chat_in_each_content_coding(books: Books, encoding: str) -> None:
    books.balanced("openai", chat, encoding=encoding)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_chat_stream_in_each_content_coding(books: Books, encoding: str) -> None:
    books.balanced("openai", with_usage, encoding=encoding)


def test_async_chat(books: Books) -> None:
    async def create(base: str, headers: Headers) -> Any:
        async with openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="sk", default_headers=headers) as sdk:
            return (await sdk.chat.completions.create(model="gpt-4o", messages=HELLO)).model_dump()

    books.balanced("openai", lambda base, headers: asyncio.run(create(base, headers)))


def test_async_chat_stream(books: Books) -> None:
    async def create(base: str, headers: Headers) -> Any:
        async with openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="sk", default_headers=headers) as sdk:
            stream = await sdk.chat.completions.create(
                model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
            )
            return [chunk.model_dump() async for chunk in stream]

    books.balanced("openai", lambda base, headers: asyncio.run(create(base, headers)))


def test_completions(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with client(base, headers) as sdk:
            return sdk.completions.create(model="gpt-3.5-turbo-instruct", prompt="A weir is").model_dump()

    assert books.balanced("openai", call).row["operation"] == "text_completion"


def test_completions_stream(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with client(base, headers) as sdk:
            stream = sdk.completions.create(
                model="gpt-3.5-turbo-instruct",
                prompt="A weir is",
                stream=True,
                stream_options={"include_usage": True},
            )
            return [chunk.model_dump() for chunk in stream]

    books.balanced("openai", call)


def test_embeddings(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with client(base, headers) as sdk:
            return sdk.embeddings.create(
                model="text-embedding-3-small", input=["one", "two"], dimensions=16
            ).model_dump()

    both = books.balanced("openai", call)
    assert both.row["operation"] == "embeddings"
    assert [len(item["embedding"]) for item in both.result["data"]] == [16, 16]


def responses(base: str, headers: Headers, **more: Any) -> Any:
    with client(base, headers) as sdk:
        return sdk.responses.create(model="gpt-4.1", input="What is a weir?", **more).model_dump()


def test_responses(books: Books) -> None:
    both = books.balanced("openai", responses, tokens_in=100, tokens_out=40, tokens_cached=64, tokens_reasoning=10)
    assert both.row["response_model"] == "gpt-4.1"


def test_responses_cut_by_its_limit(books: Books) -> None:
    both = books.balanced("openai", lambda base, headers: responses(base, headers, max_output_tokens=4))
    assert both.row["output_tokens"] == 4


def test_responses_stream(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with client(base, headers) as sdk:
            stream = sdk.responses.create(model="gpt-4.1", input="What is a weir?", stream=True)
            return [event.model_dump() for event in stream]

    both = books.balanced("openai", call)
    assert both.result[-1]["type"] == "response.completed"


def test_list_of_models(books: Books) -> None:
    with client(f"{books.weir.url}/openai", {}) as through, client(f"{books.simulator.url}/openai", {}) as direct:
        assert through.models.list().model_dump() == direct.models.list().model_dump()


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_errors_look_the_same(books: Books, status: int) -> None:
    def call(base: str, headers: Headers) -> Any:
        with pytest.raises(openai.APIStatusError) as caught:
            chat(base, headers)
        return type(caught.value), str(caught.value), caught.value.body

    both = books.twice("openai", call, fault=f"status={status}")
    assert (both.row["outcome"], both.row["http_status"]) == ("upstream_error", status)
    assert both.row["error_type"]
    assert both.row["input_tokens"] is None
    assert both.row["cost_usd"] is None


def test_an_error_within_a_stream_looks_the_same(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with pytest.raises(openai.APIError) as caught:
            chat_stream(base, headers)
        return str(caught.value)

    both = books.twice("openai", call, fault="error-event-after=3")
    assert (both.row["outcome"], both.row["http_status"]) == ("stream_error", 200)
    assert both.row["error_type"] == "server_error"


@pytest.mark.parametrize("fault", ["cut-after=4", "reset-after=4"])
def test_a_broken_stream_breaks_the_same(books: Books, fault: str) -> None:
    def call(base: str, headers: Headers) -> Any:
        seen: list[Any] = []
        with client(base, headers) as sdk, pytest.raises(BROKEN) as caught:
            seen.extend(sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))
        return len(seen), type(caught.value)

    both = books.twice("openai", call, fault=fault, gap_ms=20)
    assert both.result[0] == 4
    assert both.row["outcome"] == "upstream_cut"
    assert both.row["chunks"] == 4


def test_a_stream_that_its_reader_leaves(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with client(base, headers) as sdk:
            stream = sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
            first = next(stream).model_dump()
            stream.close()
        return first

    both = books.twice("openai", call, tokens_out=500, gap_ms=20)
    assert both.row["outcome"] == "client_closed"
    left = books.weir.wait(lambda: [e for e in books.simulator.ledger(books.session) if e["closed_by_client"]])
    assert len(left) == 2
