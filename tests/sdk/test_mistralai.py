"""The official Mistral client, pointed at weir by its server URL alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from tests.plugins.weir_books import Books

Headers = Mapping[str, str]
MODEL = "mistral-small-latest"
HELLO: list[Any] = [{"role": "user", "content": "What is a weir?"}]


def complete(base: str, headers: Headers) -> Any:
    with Mistral(api_key="m-test", server_url=base) as sdk:
        return sdk.chat.complete(model=MODEL, messages=HELLO, http_headers=dict(headers)).model_dump()


def stream(base: str, headers: Headers) -> Any:
    with Mistral(api_key="m-test", server_url=base) as sdk:
        with sdk.chat.stream(model=MODEL, messages=HELLO, http_headers=dict(headers)) as events:
            return [event.model_dump() for event in events]


def test_chat(books: Books) -> None:
    assert books.balanced("mistral", complete, tokens_in=300, tokens_cached=128).row["response_model"] == MODEL


def test_chat_stream(books: Books) -> None:
    both = books.balanced("mistral", stream, tokens_out=15, gap_ms=2)
    assert len(both.result) == 17
    assert both.row["ttft_ms"] is not None


def test_async_chat_stream(books: Books) -> None:
    async def call(base: str, headers: Headers) -> Any:
        async with Mistral(api_key="m-test", server_url=base) as sdk:
            events = await sdk.chat.stream_async(model=MODEL, messages=HELLO, http_headers=dict(headers))
            async with events:
                return [event.model_dump() async for event in events]

    books.balanced("mistral", lambda base, headers: asyncio.run(call(base, headers)))


def test_embeddings(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with Mistral(api_key="m-test", server_url=base) as sdk:
            answer = sdk.embeddings.create(model="mistral-embed", inputs=["one", "two"], http_headers=dict(headers))
            return answer.model_dump()

    assert books.balanced("mistral", call).row["operation"] == "embeddings"


def test_errors_look_the_same(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with pytest.raises(SDKError) as caught:
            complete(base, headers)
        return caught.value.status_code, caught.value.body

    both = books.twice("mistral", call, fault="status=429")
    assert (both.row["outcome"], both.row["http_status"]) == ("upstream_error", 429)
