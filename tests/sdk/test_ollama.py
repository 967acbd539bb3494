"""The official Ollama client, pointed at weir by its host alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import ollama
import pytest

from tests.plugins.weir_books import Books

Headers = Mapping[str, str]
MODEL = "llama3.2"
HELLO = [{"role": "user", "content": "What is a weir?"}]


def chat(base: str, headers: Headers) -> Any:
    with ollama.Client(host=base, headers=headers) as sdk:
        return sdk.chat(model=MODEL, messages=HELLO).model_dump()


def chat_stream(base: str, headers: Headers) -> Any:
    with ollama.Client(host=base, headers=headers) as sdk:
        return [line.model_dump() for line in sdk.chat(model=MODEL, messages=HELLO, stream=True)]


def test_chat(books: Books) -> None:
    both = books.balanced("ollama", chat)
    assert (both.row["response_model"], both.row["finish_reason"]) == (MODEL, "stop")


def test_chat_stream(books: Books) -> None:
    both = books.balanced("ollama", chat_stream, tokens_out=15, gap_ms=2)
    assert len(both.result) == 16
    assert both.row["ttft_ms"] is not None


def test_generate(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with ollama.Client(host=base, headers=headers) as sdk:
            return sdk.generate(model=MODEL, prompt="A weir is").model_dump()

    books.balanced("ollama", call)


def test_generate_stream(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with ollama.Client(host=base, headers=headers) as sdk:
            return [line.model_dump() for line in sdk.generate(model=MODEL, prompt="A weir is", stream=True)]

    books.balanced("ollama", call)


def test_embed(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with ollama.Client(host=base, headers=headers) as sdk:
            return sdk.embed(model="nomic-embed-text", input=["one", "two"]).model_dump()

    assert books.balanced("ollama", call).row["operation"] == "embeddings"


def test_async_chat_stream(books: Books) -> None:
    async def call(base: str, headers: Headers) -> Any:
        async with ollama.AsyncClient(host=base, headers=headers) as sdk:
            return [line.model_dump() async for line in await sdk.chat(model=MODEL, messages=HELLO, stream=True)]

    books.balanced("ollama", lambda base, headers: asyncio.run(call(base, headers)))


def test_stream_without_counts_is_estimated(books: Books) -> None:
    assert books.balanced("ollama", chat_stream, fault="no-usage").row["usage_source"] == "estimated"


def test_errors_look_the_same(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with pytest.raises(ollama.ResponseError) as caught:
            chat(base, headers)
        return str(caught.value), caught.value.status_code

    both = books.twice("ollama", call, fault="status=404")
    assert (both.row["outcome"], both.row["http_status"]) == ("upstream_error", 404)


def test_an_error_within_a_stream_looks_the_same(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with pytest.raises(ollama.ResponseError) as caught:
            chat_stream(base, headers)
        return str(caught.value)

    assert books.twice("ollama", call, fault="error-event-after=3").row["outcome"] == "stream_error"
