"""Counting offline, with the vocabularies in the package."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from proxy import tokens
from proxy.estimates import Estimate, EstimateJob
from proxy.tokens import count, estimate, vocabulary_for

VOCABULARIES = ("cl100k_base", "o200k_base")
ANSWER = (
    "Hello! I am a virtual assistant here to help with any questions or tasks you may have. How can I assist you today?"
)


def ask(body: dict[str, Any], mode: str = "chat", model: str = "gpt-3.5-turbo") -> int | None:
    return estimate(EstimateJob(model, mode, json.dumps(body).encode(), None)).input_tokens


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_the_seeds_numbers(vocabulary: str) -> None:
    assert count("Hello! Who are you?", vocabulary) == 6
    assert count(ANSWER, vocabulary) == 26


def test_counting_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", no)
    monkeypatch.setattr(socket.socket, "connect", no)
    monkeypatch.setattr(tokens, "_shelf", tokens._Shelf())
    assert count("Hello! Who are you?", "cl100k_base") == 6


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("o3", "o200k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("mixtral-8x7b", "cl100k_base"),
        ("Meta-Llama-3-8B-Instruct", "cl100k_base"),
        ("claude-sonnet-4", "o200k_base"),
        ("gemini-2.5-pro", "o200k_base"),
        ("qwen3", "o200k_base"),
        ("openai/gpt-4o", "o200k_base"),
        ("", "o200k_base"),
    ],
)
def test_each_model_has_a_vocabulary(model: str, vocabulary: str) -> None:
    assert vocabulary_for(model) == vocabulary


def test_a_chat_costs_more_than_its_text() -> None:
    body = {"messages": [{"role": "user", "content": "Hello! Who are you?"}]}
    assert (ask(body), ask(body, "text")) == (6 + 3 + 1 + 3, 6)  # OpenAI bills 13 for this
    named = {"messages": [{"role": "user", "name": "Al", "content": "Hello! Who are you?"}]}
    assert ask(named) == 13 + 1 + count("Al", "cl100k_base")


def test_a_prompt_costs_its_text() -> None:
    assert ask({"prompt": "Hello! Who are you?"}) == 6
    assert ask({"chat_input": "Hello! Who are you?"}) == 6
    assert ask({"input": [[1, 2, 3]]}) == 3


def test_tools_cost_less_than_their_json() -> None:
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    more = (ask(body | {"tools": tools}) or 0) - (ask(body) or 0)
    assert 0 < more < count(json.dumps(tools), "cl100k_base")


def test_only_what_is_asked_for_is_counted() -> None:
    assert estimate(EstimateJob("gpt-4", "chat", None, ANSWER)) == Estimate(None, 26, "cl100k_base")
    assert estimate(EstimateJob("gpt-4", "chat", b"no json", None)) == Estimate(None, None, "cl100k_base")


def test_special_tokens_are_text() -> None:
    assert count("<|endoftext|>", "cl100k_base") > 1


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize(
    "text", ["a" * 200_000, " " * 200_000, "\n" * 200_000, "\U0001f642" * 70_000, "e\u0301" * 70_000]
)
def test_pathological_text_is_counted_all_the_same(vocabulary: str, text: str) -> None:
    assert 0 < count(text, vocabulary) <= 4 * len(text)


@pytest.mark.parametrize("text", ["Hello! Who are you? " * 20_000, "word, 12 and more\n" * 9_000])
def test_slices_change_the_count_by_no_more_than_their_number(text: str) -> None:
    whole = len(tokens._shelf.get("cl100k_base").encode_ordinary(text))
    assert abs(count(text, "cl100k_base") - whole) <= len(text) // tokens.SLICE + 1
    assert "".join(tokens._slices(text)) == text


def test_text_beyond_the_cap_is_taken_to_be_as_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Hello! Who are you? " * 2_000
    whole = count(text, "cl100k_base")
    monkeypatch.setattr(tokens, "MAX_TEXT", 4_000)
    assert count(text, "cl100k_base") == pytest.approx(whole, rel=0.01)


def test_a_panic_of_the_encoder_is_survived() -> None:
    class Panics:
        def encode_ordinary(self, text: str) -> list[int]:
            raise BaseException("pyo3_runtime.PanicException")

    assert tokens._count_slice(Panics(), "abcdefgh") == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_being_told_to_stop_is_no_panic(signal: type[BaseException]) -> None:
    class Stops:
        def encode_ordinary(self, text: str) -> list[int]:
            raise signal

    with pytest.raises(signal):
        tokens._count_slice(Stops(), "x")  # type: ignore[arg-type]


def test_a_vocabulary_is_loaded_once_by_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load, gate = tokens._load, threading.Barrier(4)

    def counted(name: str) -> Any:
        loads.append(name)
        return load(name)

    def work(_: int) -> int:
        gate.wait()
        return count("Hello! Who are you?", "cl100k_base")

    monkeypatch.setattr(tokens, "_shelf", tokens._Shelf())
    monkeypatch.setattr(tokens, "_load", counted)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [6] * 4
    assert loads == ["cl100k_base"]


def test_a_damaged_vocabulary_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "vocab").mkdir()
    whole = gzip.decompress((files("proxy") / "vocab" / "cl100k_base.tiktoken.gz").read_bytes())
    (tmp_path / "vocab" / "cl100k_base.tiktoken.gz").write_bytes(gzip.compress(whole[:-10], 1))
    monkeypatch.setattr(tokens, "files", lambda _: tmp_path)
    with pytest.raises(tokens.TokenError, match="SHA-256"):
        tokens._load("cl100k_base")
    with pytest.raises(tokens.TokenError, match="cannot be read"):
        tokens._load("o200k_base")
