"""OpenAI's legacy Completions: a chat chunk whose choices hold `text`."""

from __future__ import annotations

from proxy.wire.openai_chat import read

__all__ = ["read"]
