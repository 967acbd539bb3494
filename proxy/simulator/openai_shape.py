"""What the OpenAI-shaped APIs of the simulator share: usage objects, errors, the end of a stream.

Vendors that copy OpenAI's API (Mistral here) bring their own deltas in their own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from proxy.simulator.api import sse
from proxy.simulator.story import CREATED, Answer

DONE = b"data: [DONE]\n\n"

ERROR_TYPES = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
"""Status -> OpenAI's `type` and `code`; other statuses are `server_error` without a code."""


def usage(answer: Answer) -> dict[str, Any]:
    """The usage object of chat and completions: the prompt's tokens include cached ones, the completion's reasoning."""
    counts = answer.counts
    return {
        "prompt_tokens": counts.input_tokens,
        "completion_tokens": counts.output_tokens,
        "total_tokens": counts.total,
        "prompt_tokens_details": {
            "cached_tokens": counts.cached,
            "cache_write_tokens": counts.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def error(status: int, message: str) -> dict[str, Any]:
    """OpenAI's error object."""
    kind, code = ERROR_TYPES.get(status, ("server_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def refusal(status: int, message: str) -> bytes:
    """The body of an error answer."""
    return orjson.dumps(error(status, message))


BROKEN = sse(error(500, "The server had an error while processing your request."))


def headers(answer: Answer) -> list[tuple[str, str]]:
    """Headers of a good answer."""
    return [("x-request-id", f"req_{answer.ident}"), ("openai-processing-ms", "12"), ("openai-version", "2020-10-01")]


def finish(answer: Answer) -> str:
    """Why the text ended."""
    return "length" if answer.cut_short else "stop"


def usage_asked(body: Mapping[str, Any]) -> bool:
    """Whether `stream_options.include_usage` is set; without it a stream carries no usage at all."""
    options = body.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def envelope(answer: Answer, prefix: str, kind: str) -> dict[str, Any]:
    """The fields that each object and each chunk starts with."""
    return {"id": f"{prefix}-{answer.ident}", "object": kind, "created": CREATED, "model": answer.model}
