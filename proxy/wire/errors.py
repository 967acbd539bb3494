"""The one classifier of errors: an error body or a mid-stream error event → a reason from a small, fixed set.

Messages are never kept: they quote prompts and keys.
"""

from __future__ import annotations

import re
from typing import Any

from proxy.wire.facts import Facts

OTHER = "other"
KNOWN = frozenset(
    [
        "api_error",
        "authentication_error",
        "bad_request",
        "bad_request_error",
        "billing_error",
        "billing_hard_limit_reached",
        "cancelled",
        "conflict_error",
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "cyber_policy",
        "deadline_exceeded",
        "engine_overloaded",
        "error",
        "failed_generation",
        "failed_precondition",
        "forbidden_error",
        "image_content_policy_violation",
        "image_parse_error",
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_quota",
        "internal",
        "internal_error",
        "internal_server_error",
        "internal_server_exception",
        "invalid_api_key",
        "invalid_argument",
        "invalid_image",
        "invalid_prompt",
        "invalid_request",
        "invalid_request_error",
        "max_tokens_exceeded",
        "model_error_exception",
        "model_not_found",
        "model_stream_error_exception",
        "model_timeout_exception",
        "not_found",
        "not_found_error",
        "out_of_range",
        "overloaded",
        "overloaded_error",
        "permission_denied",
        "permission_error",
        "policy_violation",
        "previous_response_not_found",
        "rate_limit_error",
        "rate_limit_exceeded",
        "request_too_large",
        "resource_exhausted",
        "resource_not_found",
        "server_error",
        "server_overloaded",
        "server_is_overloaded",
        "service_unavailable",
        "service_unavailable_error",
        "service_unavailable_exception",
        "slow_down",
        "string_above_max_length",
        "throttling_exception",
        "timeout",
        "timeout_error",
        "token_limit_exceeded",
        "tool_use_failed",
        "unauthenticated",
        "unauthorized",
        "unavailable",
        "unimplemented",
        "unknown_model",
        "unprocessable_entity",
        "unsupported_country_region_territory",
        "unsupported_model",
        "upstream_error",
        "validation_error",
        "validation_exception",
        "vector_store_timeout",
        "websocket_connection_limit_reached",
        "wrong_api_key",
    ]
)
"""Reasons that providers name, in snake_case. Anything else is `other`: the value becomes a metric label."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def note(event: dict[str, Any], facts: Facts) -> None:
    """Note the error that an event carries, if it carries one. Nothing of the answer follows it."""
    error = event.get("error")
    if error:
        fail(facts, error, event)
    elif event.get("type") == "error" or event.get("object") == "error":
        fail(facts, event, event)


def fail(facts: Facts, error: Any, event: dict[str, Any] | None = None) -> None:
    """The stream said that it failed. The first reason that says anything is kept."""
    reason = reason_of(error)
    if reason == OTHER and event is not None and event is not error:
        reason = reason_of(event)
    if facts.error_type is None or facts.error_type == OTHER:
        facts.error_type = reason
    facts.terminal = True


def reason_of(error: Any) -> str:
    """The most telling of an error's code, type and status that is a known one; `http_NNN` for a numeric code."""
    if type(error) is not dict:
        return OTHER
    candidates = [error.get(key) for key in ("code", "type", "status", "reason", "http_status_code")]
    names = [_snake(value) for value in candidates if type(value) is str]
    generic = ("error", "api_error", "invalid_request_error", "invalid_request")
    known = [name for name in names if name in KNOWN]
    for name in known:
        if name not in generic:
            return name
    telling = [name for name in known if name != "error"]
    return telling[0] if telling else _numeric(candidates)


def _numeric(candidates: list[Any]) -> str:
    for value in candidates:
        number = int(value) if type(value) is str and len(value) == 3 and value.isascii() and value.isdigit() else value
        if type(number) is int and 400 <= number <= 599:
            return f"http_{number}"
    return OTHER


def _snake(name: str) -> str:
    return _HUMP.sub("_", name[:64]).lower().replace("-", "_").replace(" ", "_")
