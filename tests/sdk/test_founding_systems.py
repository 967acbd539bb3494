"""The five founding systems and Cohere, as the simulator speaks them: with an official client where one fits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import ollama
import openai
import pytest

from tests.plugins.weir_books import Books

Headers = Mapping[str, str]
HELLO: list[Any] = [{"role": "user", "content": "tell a joke"}]


def post(url: str, headers: Headers, body: Any) -> httpx.Response:
    return httpx.post(url, json=body, headers=headers, trust_env=False, timeout=20)


def told(answer: httpx.Response) -> Any:
    """Everything but the date and the call id."""
    own = ("date", "x-weir-call-id", "connection")
    return answer.status_code, [(k, v) for k, v in answer.headers.items() if k not in own], answer.text


def test_ktransformers_chat_with_the_openai_client(books: Books) -> None:
    """`data:` without a space, `event: done`, empty events, a model name that is not one."""

    def call(base: str, headers: Headers) -> Any:
        with openai.OpenAI(base_url=f"{base}/v1", api_key="none", default_headers=headers, max_retries=0) as sdk:
            stream = sdk.chat.completions.create(model="Meta-Llama-3-8B-Instruct", messages=HELLO, stream=True)
            return [chunk.model_dump() for chunk in stream]

    both = books.balanced("ktransformers", call, tokens_out=20)
    assert {chunk["model"] for chunk in both.result} == {"not implmented"}
    assert both.row["model"] == "Meta-Llama-3-8B-Instruct"
    assert both.row["usage_source"] == "estimated"


def test_ktransformers_generate_with_the_ollama_client(books: Books) -> None:
    """Lines under the content type of server-sent events."""

    def call(base: str, headers: Headers) -> Any:
        with ollama.Client(host=base, headers=headers) as sdk:
            lines = sdk.generate(model="Meta-Llama-3-8B-Instruct", prompt="tell a joke", stream=True)
            return [line.model_dump() for line in lines]

    both = books.balanced("ktransformers", call)
    assert both.row["usage_source"] == "estimated"
    assert both.row["ttft_ms"] is not None


def test_ktransformers_refuses_in_plain_text(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        return told(post(f"{base}/api/generate", headers, {"model": "m", "prompt": "x"}))

    both = books.twice("ktransformers", call)
    assert both.result[2] == "Internal Server Error"
    assert (both.row["outcome"], both.row["http_status"]) == ("upstream_error", 500)


def livepeer(stream: bool) -> dict[str, Any]:
    return {"messages": HELLO, "model": "meta-llama/Meta-Llama-3.1-8B-Instruct", "stream": stream, "max_tokens": 256}


@pytest.mark.parametrize("dialect", ["gateway", "runner"])
@pytest.mark.parametrize("stream", [False, True])
def test_livepeer(books: Books, dialect: str, stream: bool) -> None:
    """Usage in every event, cumulative; `[DONE]` from the runner only."""
    both = books.balanced("livepeer", lambda b, h: told(post(f"{b}/llm", h, livepeer(stream))), dialect=dialect)
    assert both.row["finish_reason"] == "stop"
    assert ("[DONE]" in both.result[2]) == (stream and dialect == "runner")


def test_livepeer_cut_short_of_its_last_event(books: Books) -> None:
    def call(base: str, headers: Headers) -> Any:
        with pytest.raises(httpx.RemoteProtocolError):
            post(f"{base}/llm", headers, livepeer(True))
        return "cut"

    both = books.twice("livepeer", call, fault="cut-after=4", tokens_out=20, gap_ms=5)
    assert both.row["outcome"] == "upstream_cut"
    assert both.row["output_tokens"] is None or both.row["output_tokens"] < 20 or both.row["usage_source"] != "provider"


@pytest.mark.parametrize("stream", [False, True])
def test_llmstudio_1_0(books: Books, stream: bool) -> None:
    body = {"chat_input": "Hello! Who are you?", "model": "gpt-3.5-turbo", "is_stream": stream, "parameters": {}}
    both = books.balanced("llmstudio-engine", lambda b, h: told(post(f"{b}/api/engine/chat/openai", h, body)))
    assert both.row["stream"] == stream
    assert both.row["output_tokens"] == both.entry["output_tokens"]


def test_llmstudio_1_0_with_a_long_prompt(books: Books) -> None:
    """Each object repeats the question, so chunks grow with it: one object per chunk all the same."""

    def call(base: str, headers: Headers) -> Any:
        body = {"chat_input": "why? " * 20_000, "model": "gpt-3.5-turbo", "is_stream": True}
        url = f"{base}/api/engine/chat/openai"
        with httpx.stream("POST", url, json=body, headers=headers, trust_env=False, timeout=20) as answer:
            text = "".join(answer.iter_text())
        decoder, at, found = json.JSONDecoder(), 0, []
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            found.append(value["choices"])
        return found

    both = books.balanced("llmstudio-engine", call, tokens_out=10)
    assert len(both.result) == both.row["chunks"] == 13


@pytest.mark.parametrize("stream", [False, True])
def test_llmstudio_0_3(books: Books, stream: bool) -> None:
    """Bare text without a content type."""
    body = {"api_key": "sk-x", "chat_input": "Hello! Who are you?", "model": "gpt-3.5-turbo", "is_stream": stream}
    both = books.balanced("llmstudio-engine", lambda b, h: told(post(f"{b}/api/engine/chat/openai", h, body)))
    assert both.row["usage_source"] == ("estimated" if stream else "provider")


def test_vision_chat(books: Books) -> None:
    """Always streams; several events in one HTTP chunk."""
    body = {"messages": HELLO, "model": "mixtral-8x7b", "temperature": 0.1, "max_tokens": 500}
    both = books.balanced("vision", lambda b, h: told(post(f"{b}/api/vision-chat", h, body)), tokens_out=30)
    assert both.row["stream"]
    assert both.row["chunks"] == both.entry["events"] == 32 - 9
    assert both.row["model"] == "mixtral-8x7b"


def test_segmind(books: Books) -> None:
    """The model is in the address, the price in a header."""
    both = books.balanced("segmind", lambda b, h: told(post(f"{b}/v1/mixtral-8x7b-instruct", h, {"messages": HELLO})))
    headers = dict(both.result[1])
    assert both.row["request_model"] == "mixtral-8x7b-instruct"
    assert both.row["cost_source"] == "provider"
    assert both.row["cost_usd"] == pytest.approx(float(headers["x-cost"]))


@pytest.mark.parametrize("stream", [False, True])
def test_cohere(books: Books, stream: bool) -> None:
    body = {"model": "command-a", "messages": HELLO, "stream": stream}
    both = books.twice("cohere", lambda b, h: told(post(f"{b}/v2/chat", h, body)), tokens_in=40, tokens_out=9)
    row = both.row
    assert (row["outcome"], row["stream"], row["request_model"]) == ("ok", stream, "command-a")
    assert (row["input_tokens"], row["output_tokens"], row["usage_source"]) == (40, 9, "provider")
