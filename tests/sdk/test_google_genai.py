"""The official Google client, pointed at weir by its base URL alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from tests.plugins.weir_books import Books

Headers = Mapping[str, str]
MODEL = "gemini-2.5-flash"
HELLO = "What is a weir?"


@contextmanager
def client(base: str, headers: Headers) -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=base, headers=dict(headers), timeout=20_000)
    sdk = genai.Client(api_key="AIza-test", http_options=options)
    try:
        yield sdk
    finally:
        sdk.close()


def plain(answer: Any) -> Any:
    """The answer without the HTTP headers that the client keeps beside it: the date is one of them."""
    return answer.model_dump(exclude={"sdk_http_response"})


def generate(base: str, headers: Headers) -> Any:
    with client(base, headers) as sdk:
        return plain(sdk.models.generate_content(model=MODEL, contents=HELLO))


def stream(base: str, headers: Headers) -> Any:
    with client(base, headers) as sdk:
        return [plain(chunk) for chunk in sdk.models.generate_content_stream(model=MODEL, contents=HELLO)]


def test_generate(books: Books) -> None:
    both = books.balanced("gemini", generate)
    assert (both.row["response_model"], both.row["operation"]) == (MODEL, "generate_content")


def test_generate_with_cache_and_thoughts(books: Books) -> None:
    both = books.balanced("gemini", generate, tokens_in=500, tokens_cached=256, tokens_out=60, tokens_reasoning=50)
    assert both.result["usage_metadata"]["candidates_token_count"] == 10
    assert (both.row["output_tokens"], both.row["reasoning_tokens"]) == (60, 50)


def test_generate_stream(books: Books) -> None:
    both = books.balanced("gemini", stream, tokens_out=12, gap_ms=2)
    assert len(both.result) == 13
    assert both.row["ttft_ms"] is not None


def test_generate_stream_with_thoughts(books: Books) -> None:
    books.balanced("gemini", stream, tokens_out=12, tokens_reasoning=4)


def test_generate_stream_as_one_array(books: Books) -> None:
    """Without `alt=sse`, which the official client always sends, the stream is one JSON array."""

    def call(base: str, headers: Headers) -> Any:
        url = f"{base}/v1beta/models/{MODEL}:streamGenerateContent"
        body = {"contents": [{"parts": [{"text": HELLO}]}]}
        return httpx.post(url, json=body, headers=headers, trust_env=False).json()

    both = books.balanced("gemini", call)
    assert isinstance(both.result, list)


def test_async_generate_stream(books: Books) -> None:
    async def call(base: str, headers: Headers) -> Any:
        with client(base, headers) as sdk:
            chunks = await sdk.aio.models.generate_content_stream(model=MODEL, contents=HELLO)
            found = [plain(chunk) async for chunk in chunks]
            await sdk.aio.aclose()
            return found

    books.balanced("gemini", lambda base, headers: asyncio.run(call(base, headers)))


def test_embedding_tells_no_usage(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with client(base, headers) as sdk:
            return plain(sdk.models.embed_content(model="gemini-embedding-001", contents=["one", "two"]))

    both = books.twice("gemini", call)
    assert (both.row["outcome"], both.row["operation"]) == ("ok", "embeddings")
    assert both.row["request_model"] == "gemini-embedding-001"
    assert both.row["usage_source"] in ("none", "estimated")
    assert not both.row["output_tokens"]


def test_counting_tokens_is_not_usage(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with client(base, headers) as sdk:
            return plain(sdk.models.count_tokens(model=MODEL, contents=HELLO))

    both = books.twice("gemini", call)
    assert both.result["total_tokens"] > 0
    assert (both.row["input_tokens"], both.row["usage_source"]) == (None, "none")


@pytest.mark.parametrize("status", [400, 429, 503])
def test_errors_look_the_same(books: Books, status: int) -> None:
    def call(base: str, headers: Headers) -> Any:
        with pytest.raises(errors.APIError) as caught:
            generate(base, headers)
        return type(caught.value), str(caught.value)

    both = books.twice("gemini", call, fault=f"status={status}")
    assert (both.row["outcome"], both.row["http_status"]) == ("upstream_error", status)


def test_an_error_within_a_stream_looks_the_same(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with pytest.raises(errors.APIError) as caught:
            stream(base, headers)
        return type(caught.value), str(caught.value)

    assert books.twice("gemini", call, fault="error-event-after=3").row["outcome"] == "stream_error"
