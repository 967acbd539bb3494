"""Applications whose base URL cannot name an upstream: the wire format decides, else the default upstream."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import anthropic
import ollama
import openai
import pytest
from google import genai
from google.genai import types

from tests.plugins.simulator import Simulator
from tests.plugins.weir import Weir

HELLO: list[Any] = [{"role": "user", "content": "What is a weir?"}]


def with_openai(base: str, headers: Mapping[str, str]) -> None:
    with openai.OpenAI(base_url=f"{base}/v1", api_key="sk", default_headers=headers) as sdk:
        sdk.chat.completions.create(model="gpt-4o", messages=HELLO)


def with_anthropic(base: str, headers: Mapping[str, str]) -> None:
    with anthropic.Anthropic(base_url=base, api_key="sk", default_headers=headers) as sdk:
        sdk.messages.create(model="claude-sonnet-4-6", max_tokens=50, messages=HELLO)


def with_ollama(base: str, headers: Mapping[str, str]) -> None:
    with ollama.Client(host=base, headers=headers) as sdk:
        sdk.chat(model="llama3.2", messages=HELLO)


def with_google(base: str, headers: Mapping[str, str]) -> None:
    options = types.HttpOptions(base_url=base, api_version="v1beta", headers=dict(headers))
    sdk = genai.Client(api_key="AIza", http_options=options)
    sdk.models.generate_content(model="gemini-2.5-flash", contents="hi")
    sdk.close()


@pytest.mark.parametrize(
    ("call", "upstream"),
    [(with_openai, "openai"), (with_anthropic, "anthropic"), (with_ollama, "ollama"), (with_google, "gemini")],
)
@pytest.mark.parametrize("labels", [False, True])
def test_the_call_reaches_its_vendor(
    weir: Weir, simulator: Simulator, call: Callable[[str, Mapping[str, str]], None], upstream: str, labels: bool
) -> None:
    tag = uuid.uuid4().hex
    base = f"{weir.url}/with/session={tag},project=p1,user=u1" if labels else weir.url
    call(base, {"x-sim-tag": tag} if labels else {"x-sim-tag": tag, "x-weir-session": tag})
    (entry,) = simulator.ledger(tag)
    (row,) = weir.wait_for_rows(1, f"session_id = '{tag}'")
    assert row["upstream"] == upstream
    assert entry["path"].startswith(f"/{upstream}/")
    assert row["session_source"] == ("path" if labels else "header")
    assert (row["project"], row["user_id"]) == (("p1", "u1") if labels else (None, None))
    assert (row["input_tokens"], row["output_tokens"]) == (entry["input_tokens"], entry["output_tokens"])
