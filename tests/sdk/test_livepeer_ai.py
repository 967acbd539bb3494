"""Livepeer's own client, pointed at weir by its server URL alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.plugins.weir_books import Books

livepeer_ai = pytest.importorskip("livepeer_ai")

LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"


def generate(base: str, headers: Mapping[str, str]) -> Any:
    request = {"messages": [{"role": "user", "content": "Tell a robot story."}], "model": LLAMA, "max_tokens": 256}
    with httpx.Client(trust_env=False, timeout=20) as transport:
        sdk = livepeer_ai.Livepeer(http_bearer="tok-123", server_url=base, client=transport)
        answer = sdk.generate.llm(request={**request, "stream": False}, http_headers=dict(headers))
        return answer.llm_response.model_dump()


def test_generate(books: Books) -> None:
    both = books.balanced("livepeer", generate)
    assert both.row["model"] == LLAMA
    assert both.row["key_id"].startswith("k-")
