"""The table: which wire format a method and a path speak."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from proxy.wire import FORMATS, classify, path_model

POSTS = [
    ("/v1/chat/completions", "openai.chat", "chat", None),
    ("/chat/completions", "openai.chat", "chat", None),
    ("/v1/chat/completions/", "openai.chat", "chat", None),
    ("/llm", "openai.chat", "chat", None),
    ("/api/beta/generate/llm", "openai.chat", "chat", None),
    ("/api/vision-chat", "openai.chat", "chat", None),
    ("/v1/completions", "openai.completions", "text_completion", None),
    ("/v1/fim/completions", "openai.completions", "text_completion", None),
    ("/v1/responses", "openai.responses", "chat", None),
    ("/v1/responses/compact", "openai.responses", "chat", None),
    ("/v1/responses/input_tokens", "count", "", None),
    ("/v1/embeddings", "openai.embeddings", "embeddings", None),
    ("/v1/images/edits", "openai.images", "", None),
    ("/v1/audio/speech", "openai.audio", "", None),
    ("/openai/deployments/my%20gpt/chat/completions", "azure.chat", "chat", "my gpt"),
    ("/openai/deployments/emb/embeddings", "azure.embeddings", "embeddings", "emb"),
    ("/openai/v1/chat/completions", "openai.chat", "chat", None),
    ("/v1/messages", "anthropic.messages", "chat", None),
    ("/anthropic/v1/messages", "anthropic.messages", "chat", None),
    ("/v1/messages/count_tokens", "count", "", None),
    ("/v1/projects/p/locations/l/publishers/anthropic/models/claude-4:streamRawPredict", "anthropic.messages", "chat",
     "claude-4"),
    ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini", "generate_content", "gemini-2.5-pro"),
    ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", "gemini", "generate_content", "gemini-2.5-pro"),
    ("/v1beta/models/e-1:embedContent", "gemini", "embeddings", "e-1"),
    ("/v1beta/models/gemini-2.5-pro:countTokens", "count", "", "gemini-2.5-pro"),
    ("/v1beta/openai/chat/completions", "openai.chat", "chat", None),
    ("/api/chat", "ollama", "chat", None),
    ("/api/generate", "ollama", "text_completion", None),
    ("/api/embed", "ollama", "embeddings", None),
    ("/api/engine/chat/openai", "llmstudio", "chat", None),
    ("/v2/chat", "cohere.v2", "chat", None),
    ("/api/v1/chat", "lmstudio", "chat", None),
    ("/model/anthropic.claude-v2%3A1/converse-stream", "bedrock.converse", "chat", "anthropic.claude-v2:1"),
    ("/model/amazon.titan-text/invoke", "bedrock.invoke", "", "amazon.titan-text"),
    ("/generate_stream", "tgi", "text_completion", None),
    ("/completion", "llamacpp", "text_completion", None),
    ("/tokenize", "count", "", None),
    ("/v1/mixtral-8x7b-instruct", "generic", "", "mixtral-8x7b-instruct"),
    ("/v1/models", "generic", "", None),
    ("/v1/files", "generic", "", None),
    ("/whatever/else", "generic", "", None),
    ("/", "generic", "", None),
]  # fmt: skip


@pytest.mark.parametrize(("path", "wire_format", "operation", "model"), POSTS)
def test_a_post_is_known_by_its_path(path: str, wire_format: str, operation: str, model: str | None) -> None:
    assert classify("POST", path) == (wire_format, operation, model)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH", "OPTIONS", "post"])
def test_all_but_a_post_is_opaque(method: str) -> None:
    assert classify(method, "/v1/chat/completions") == ("opaque", "", None)


@given(
    path=st.text(max_size=60)
    | st.lists(st.sampled_from(["v1", "models", ":", "deployments", "chat", "%"])).map("/".join)
)
def test_any_path_has_a_format_of_the_table(path: str) -> None:
    assert classify("POST", path).wire_format in FORMATS
    assert len(path_model(path) or "") <= 256


def test_every_row_is_named_once_and_counting_is_never_read() -> None:
    assert all(name == row.name for name, row in FORMATS.items())
    assert FORMATS["count"].read is None
    assert FORMATS["opaque"].read is None
