"""The official Cohere client, pointed at weir by its base URL alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.plugins.weir_books import Books

cohere = pytest.importorskip("cohere")

Headers = Mapping[str, str]
MODEL = "command-a-03-2025"
HELLO = [{"role": "user", "content": "What is a weir?"}]


@contextmanager
def client(base: str, headers: Headers) -> Iterator[Any]:
    with httpx.Client(headers=dict(headers), trust_env=False, timeout=20) as transport:
        yield cohere.ClientV2("co-test", base_url=base, httpx_client=transport, max_retries=0)


def chat(base: str, headers: Headers) -> Any:
    with client(base, headers) as sdk:
        return sdk.chat(model=MODEL, messages=HELLO).model_dump()


def chat_stream(base: str, headers: Headers) -> Any:
    with client(base, headers) as sdk:
        return [event.model_dump() for event in sdk.chat_stream(model=MODEL, messages=HELLO)]


def test_chat(books: Books) -> None:
    both = books.balanced("cohere", chat)
    assert both.result["usage"]["billed_units"]["input_tokens"] == both.row["input_tokens"]


def test_chat_stream(books: Books) -> None:
    both = books.balanced("cohere", chat_stream, tokens_out=12, gap_ms=2)
    assert both.row["ttft_ms"] is not None
    assert both.row["finish_reason"]


def test_embed(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with client(base, headers) as sdk:
            answer = sdk.embed(
                model="embed-v4.0", texts=["one", "two"], input_type="search_query", embedding_types=["float"]
            )
            return answer.model_dump()

    assert books.balanced("cohere", call).row["operation"] == "embeddings"


def test_errors_look_the_same(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with pytest.raises(cohere.core.ApiError) as caught:
            chat(base, headers)
        return type(caught.value), caught.value.status_code, caught.value.body

    both = books.twice("cohere", call, fault="status=429")
    assert (both.row["outcome"], both.row["http_status"]) == ("upstream_error", 429)
