"""OpenAI Embeddings: vectors, a model name and a usage without output."""

from __future__ import annotations

from typing import Any

from proxy.wire.errors import note
from proxy.wire.facts import Facts


def read(event: dict[str, Any], facts: Facts) -> bool:
    """Read names and usage; vectors are no content that anyone counts."""
    facts.name(event.get("model"), event.get("id"))
    note(event, facts)
    facts.count(event.get("usage"))
    facts.terminal = facts.vectors = True
    return False
