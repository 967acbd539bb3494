"""The lists of models that clients fetch before their first call, in each vendor's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.simulator.story import CREATED

NAMES = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-6", "gemini-2.5-flash", "llama3.2", "mistral-small-latest")
"""Examples only: every model name is answered."""

OPENAI: Mapping[str, Any] = {
    "object": "list",
    "data": [{"id": name, "object": "model", "created": CREATED, "owned_by": "simulator"} for name in NAMES],
}
ANTHROPIC: Mapping[str, Any] = {
    "data": [
        {"type": "model", "id": name, "display_name": name, "created_at": "2026-09-21T13:33:20Z"} for name in NAMES
    ],
    "has_more": False,
    "first_id": NAMES[0],
    "last_id": NAMES[-1],
}
GEMINI: Mapping[str, Any] = {
    "models": [
        {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": ["generateContent"]}
        for name in NAMES
    ]
}
OLLAMA: Mapping[str, Any] = {
    "models": [
        {"name": name, "model": name, "modified_at": "2026-09-21T13:33:20Z", "size": 1, "digest": "0", "details": {}}
        for name in NAMES
    ]
}

ADDRESSES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("/openai/v1/models", OPENAI),
    ("/mistral/v1/models", OPENAI),
    ("/v1/models", OPENAI),
    ("/anthropic/v1/models", ANTHROPIC),
    ("/gemini/v1beta/models", GEMINI),
    ("/v1beta/models", GEMINI),
    ("/ollama/api/tags", OLLAMA),
    ("/api/tags", OLLAMA),
)
"""Address -> what `GET` answers there."""
