"""What frames mean: one module per provider API, one table, and a generic reader for everybody else.

`classify` tells the wire format by method and path alone: any host may speak any of these. To add one, write a module
with `read(event, facts) -> bool` (true when the event carries content); give it a row in `_ROWS` and its paths.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

from proxy.wire.anthropic_messages import read as _anthropic
from proxy.wire.facts import Facts
from proxy.wire.gemini import read as _gemini
from proxy.wire.generic import read as _generic
from proxy.wire.llmstudio import read as _llmstudio
from proxy.wire.ollama import read as _ollama
from proxy.wire.openai_chat import read as _chat
from proxy.wire.openai_completions import read as _completions
from proxy.wire.openai_embeddings import read as _embeddings
from proxy.wire.openai_responses import read as _responses

Read = Callable[[dict[str, Any], Facts], bool]


class WireFormat(NamedTuple):
    """One API."""

    name: str
    read: Read | None
    """None: the answer is not read at all."""
    operation: str = ""
    """OpenTelemetry `gen_ai.operation.name`."""


class Classified(NamedTuple):
    """What a method and a path tell."""

    wire_format: str
    operation: str
    model: str | None
    """The model, where the path names it."""


OPAQUE = WireFormat("opaque", None)
_ROWS = (
    WireFormat("openai.chat", _chat, "chat"),
    WireFormat("openai.completions", _completions, "text_completion"),
    WireFormat("openai.responses", _responses, "chat"),
    WireFormat("openai.embeddings", _embeddings, "embeddings"),
    WireFormat("openai.images", _generic),
    WireFormat("openai.audio", _generic),
    WireFormat("azure.chat", _chat, "chat"),
    WireFormat("azure.completions", _completions, "text_completion"),
    WireFormat("azure.embeddings", _embeddings, "embeddings"),
    WireFormat("anthropic.messages", _anthropic, "chat"),
    WireFormat("gemini", _gemini, "generate_content"),
    WireFormat("gemini.interactions", _generic, "generate_content"),
    WireFormat("bedrock.converse", _generic, "chat"),
    WireFormat("bedrock.invoke", _generic),
    WireFormat("cohere.v2", _generic, "chat"),
    WireFormat("ollama", _ollama, "chat"),
    WireFormat("llamacpp", _generic, "text_completion"),
    WireFormat("tgi", _generic, "text_completion"),
    WireFormat("lmstudio", _generic, "chat"),
    WireFormat("llmstudio", _llmstudio, "chat"),
    WireFormat("generic", _generic),
    WireFormat("count", None),
    OPAQUE,
)
FORMATS = {row.name: row for row in _ROWS}
"""Every wire format by its name; a name that is not here reads as `opaque`."""

_TWO = {
    "chat/completions": ("openai.chat", "chat"),
    "fim/completions": ("openai.completions", "text_completion"),
    "responses/compact": ("openai.responses", "chat"),
    "responses/input_tokens": ("count", ""),
    "messages/count_tokens": ("count", ""),
    "images/generations": ("openai.images", ""),
    "images/edits": ("openai.images", ""),
    "images/variations": ("openai.images", ""),
    "audio/transcriptions": ("openai.audio", ""),
    "audio/translations": ("openai.audio", ""),
    "audio/speech": ("openai.audio", ""),
    "api/chat": ("ollama", "chat"),
    "api/generate": ("ollama", "text_completion"),
    "api/embed": ("ollama", "embeddings"),
    "api/embeddings": ("ollama", "embeddings"),
    "api/vision-chat": ("openai.chat", "chat"),
    "v2/chat": ("cohere.v2", "chat"),
    "v2/embed": ("cohere.v2", "embeddings"),
    "v2/rerank": ("cohere.v2", ""),
}
"""The last two segments of a POST's path."""
_ONE = {
    "completions": ("openai.completions", "text_completion"),
    "responses": ("openai.responses", "chat"),
    "embeddings": ("openai.embeddings", "embeddings"),
    "messages": ("anthropic.messages", "chat"),
    "chat": ("generic", "chat"),
    "llm": ("openai.chat", "chat"),
    "vision-chat": ("openai.chat", "chat"),
    "interactions": ("gemini.interactions", "generate_content"),
    "completion": ("llamacpp", "text_completion"),
    "infill": ("llamacpp", "text_completion"),
    "generate": ("tgi", "text_completion"),
    "generate_stream": ("tgi", "text_completion"),
    "converse": ("bedrock.converse", "chat"),
    "converse-stream": ("bedrock.converse", "chat"),
    "invoke": ("bedrock.invoke", ""),
    "invoke-with-response-stream": ("bedrock.invoke", ""),
    "count_tokens": ("count", ""),
    "count-tokens": ("count", ""),
    "tokenize": ("count", ""),
    "detokenize": ("count", ""),
}
"""The last segment."""
_VERBS = {
    "generateContent": ("gemini", "generate_content"),
    "streamGenerateContent": ("gemini", "generate_content"),
    "embedContent": ("gemini", "embeddings"),
    "batchEmbedContents": ("gemini", "embeddings"),
    "countTokens": ("count", ""),
    "count-tokens": ("count", ""),
    "rawPredict": ("anthropic.messages", "chat"),
    "streamRawPredict": ("anthropic.messages", "chat"),
}
"""Google's custom verbs, behind a colon."""
_ENGINE_CHAT = re.compile(r"/api/engine/chat/[^/]+$")
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")
_AZURE = {
    "openai.chat": "azure.chat",
    "openai.completions": "azure.completions",
    "openai.embeddings": "azure.embeddings",
}
_PATH_MODEL = re.compile(r"/(?:models|model|endpoints)/([^/:]+(?::[0-9][^/:]*)?)(?=[:/]|$)")
_SLUG = re.compile(r"(?:^|/)v1/([A-Za-z0-9][\w.-]*)$")
_NOT_SLUGS = frozenset(
    [
        "assistants",
        "audio",
        "batches",
        "chat",
        "classify",
        "complete",
        "conversations",
        "decisions",
        "edits",
        "engines",
        "files",
        "fine-tunes",
        "fine_tuning",
        "generations",
        "images",
        "models",
        "moderations",
        "organization",
        "projects",
        "rerank",
        "score",
        "search",
        "threads",
        "uploads",
        "vector_stores",
        "videos",
    ]
)
"""Resources that stand directly under /v1 elsewhere, so are no model's name at Segmind."""


def classify(method: str, path: str) -> Classified:
    """The wire format of a call, by method and raw path (without query); `opaque` for all but a POST.

    A GET repeats usage that the POST had (a poll, a replay), so it is never read.
    """
    if method != "POST":
        return Classified("opaque", "", None)
    name, operation = _of_path(path.rstrip("/"))
    if name.startswith("openai.") and name in _AZURE and _DEPLOYMENT.search(path):
        name = _AZURE[name]
    return Classified(name, operation, path_model(path))


def _of_path(path: str) -> tuple[str, str]:
    before, _, last = path.rpartition("/")
    if path.endswith("/api/v1/chat"):
        return "lmstudio", "chat"
    found = _TWO.get(f"{before.rpartition('/')[2]}/{last}") or _ONE.get(last)
    if found is not None:
        return found
    if ":" in last:
        return _VERBS.get(last.rpartition(":")[2], ("generic", ""))
    if _ENGINE_CHAT.search(path):
        return "llmstudio", "chat"
    return "generic", ""


def path_model(path: str) -> str | None:
    """The model that a path names: Gemini, Vertex and Bedrock `models/X`, Azure's deployment, Segmind's `/v1/X`."""
    match = _DEPLOYMENT.search(path) or _PATH_MODEL.search(path)
    if match is None:
        match = _SLUG.search(path)
        if match is None or match[1] in _NOT_SLUGS or match[1] in _ONE or f"v1/{match[1]}" in _TWO:
            return None
    return unquote(match[1])[:256]
