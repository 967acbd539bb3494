"""What one provider API has to define for the simulator, and the two or three things that most of them share.

Pure values and functions; sending is `delivery.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from proxy.simulator.story import Answer, Ask

JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream; charset=utf-8"


class RequestFault(ValueError):
    """A request that the provider would refuse with 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The parts of an HTTP request that the APIs look at."""

    body: Mapping[str, Any]
    path: Mapping[str, str] = field(default_factory=dict)
    """Named parts of the address, such as the model."""
    query: Mapping[str, str] = field(default_factory=dict)
    dialect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One provider API: how a request is read, and how an answer is written."""

    name: str
    read: Callable[[Asked], Ask]
    document: Callable[[Answer], bytes]
    """The whole answer, not streamed."""
    events: Callable[[Answer], Iterator[bytes]] | None = None
    """The answer as a stream, one item per HTTP chunk; None where the provider does not stream."""
    refusal: Callable[[int, str], bytes]
    """The body of an error answer."""
    broken: bytes = b""
    """The error event in the middle of a stream."""
    document_type: str = JSON_TYPE
    stream_type: str | None = SSE_TYPE
    refusal_type: str = JSON_TYPE
    refusal_status: int | None = None
    """The one status with which it refuses bad requests, if not 400."""
    reports: bool = True
    """False where the provider never tells usage."""
    reports_streams: bool = True
    """False where it tells none in streams."""
    headers: Callable[[Answer], list[tuple[str, str]]] = lambda answer: []
    """Headers that the provider adds to a good answer."""


Speaker = Api | Callable[[Asked], Api]
"""What answers at an address: one API, or a choice by the request."""


def sse(value: Any, *, event: str = "") -> bytes:
    """One server-sent event."""
    name = f"event: {event}\n".encode() if event else b""
    return name + b"data: " + orjson.dumps(value) + b"\n\n"


def text_of(messages: Any) -> str:
    """The text in a list of messages, in whatever way their content is given."""
    if isinstance(messages, str):
        return messages
    if isinstance(messages, Mapping):
        return "\n".join(filter(None, (text_of(messages.get(key)) for key in ("text", "content", "parts"))))
    if isinstance(messages, Iterable):
        return "\n".join(filter(None, map(text_of, messages)))
    return ""


def need(body: Mapping[str, Any], name: str) -> Any:
    """A field that the request must have."""
    if body.get(name) is None:
        raise RequestFault(f"missing required parameter: {name}")
    return body[name]


def whole_number(value: Any) -> int | None:
    """A positive limit, if that is what it is."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
