"""What answers are made of: one frozen class per kind of row, with the names of `call_log` and of the other views.

Moments are integer microseconds since 1970 UTC; `as_dict` turns them into ISO 8601. None is "not known" or "none".
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

from store.record import CallRecord
from store.schema import moment


class Span(NamedTuple):
    """From `since` up to but not with `until`, in microseconds; None leaves that end open."""

    since: int | None = None
    until: int | None = None


class Cursor(NamedTuple):
    """The place of one call in the order of time."""

    started_at: int
    call_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """Sums over a group of calls. Only the names that were asked for are set."""

    day: str | None = None
    """ISO date in the zone asked for."""
    hour: int | None = None
    project: str | None = None
    upstream: str | None = None
    provider: str | None = None
    model: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    key_id: str | None = None
    calls: int = 0
    errors: int = 0
    unpriced: int = 0
    """Calls with known tokens and no known price: the cost is a lower bound when this is not 0."""
    unmeasured: int = 0
    """Answered calls without known tokens: tokens and cost are lower bounds when this is not 0."""
    estimated: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nusd: int = 0
    duration_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """One session in one project."""

    session_id: str
    project: str | None
    first_call_at: int
    last_call_at: int
    calls: int
    errors: int
    unpriced: int
    unmeasured: int
    estimated: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nusd: int
    duration_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """One call, with the columns of the view `call_log`."""

    call_id: str
    started_at: int
    session_id: str | None
    session_source: str
    project: str | None
    user_id: str | None
    key_id: str | None
    upstream: str | None
    provider: str | None
    operation: str | None
    wire_format: str
    request_model: str | None
    response_model: str | None
    model: str | None
    stream: bool | None
    outcome: str
    http_status: int | None
    error_type: str | None
    finish_reason: str | None
    duration_ms: float | None
    first_chunk_ms: float | None
    ttft_ms: float | None
    inter_token_ms: float | None
    tokens_per_second: float | None
    overhead_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    total_tokens: int | None
    usage_source: str
    cost_usd: float | None
    cost_source: str
    chunks: int | None
    request_bytes: int | None
    response_bytes: int | None
    upstream_request_id: str | None
    trace_id: str | None
    meter_fault: str | None

    @classmethod
    def of(cls, record: CallRecord) -> CallRow:
        """The row that `call_log` shows of `record`."""
        flat = record.row()
        row = {name: flat[name] for name in _SAME}
        row |= {name: flat[name] or None for name in _NAMES}
        row |= {f"{name}_ms": _thousandth(flat[f"{name}_us"]) for name in _TIMES}
        tokens, duration, cost = flat["output_tokens"], flat["duration_us"], flat["cost_nusd"]
        row["session_id"] = None if flat["session_source"] == "none" else flat["session_id"]
        row["tokens_per_second"] = None if tokens is None or not duration else tokens * 1e6 / duration
        row["cost_usd"] = None if cost is None else cost / 1e9
        return cls(**row)

    @property
    def cursor(self) -> Cursor:
        """Where this call stands, for the next page."""
        return Cursor(self.started_at, self.call_id)


_TIMES = ("duration", "first_chunk", "ttft", "inter_token", "overhead")
_NAMES = ("project", "user_id", "key_id", "upstream", "provider", "operation", "model", "trace_id")
_MADE = {"session_id", "tokens_per_second", "cost_usd", *_NAMES, *(f"{name}_ms" for name in _TIMES)}
_SAME = tuple(field.name for field in dataclasses.fields(CallRow) if field.name not in _MADE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDetail:
    """One session: its sums per project, and its calls in order."""

    summaries: list[SessionRow]
    calls: list[CallRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """Failures that look the same."""

    upstream: str | None
    provider: str | None
    model: str | None
    outcome: str
    http_status: int | None
    error_type: str | None
    errors: int
    sessions: int
    first_seen: int
    last_seen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """Percentiles of one metric (duration, ttft, first_chunk, overhead, inter_token), at most 9 % off."""

    provider: str | None = None
    model: str | None = None
    metric: str
    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpricedRow:
    """A model whose tokens are known and whose price is not."""

    upstream: str | None
    provider: str | None
    model: str | None
    unpriced: int
    calls: int
    first_hour: int
    last_hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much the ledger holds."""

    calls: int
    """Rows of `calls`, pruned ones not counted."""
    summed_calls: int
    """Calls in the hourly sums, which outlive pruning."""
    sessions: int
    first_call_at: int | None
    last_call_at: int | None
    kept_from: int | None
    """Calls before this have been pruned."""


_MOMENTS = frozenset(
    {"started_at", "first_call_at", "last_call_at", "first_seen", "last_seen", "first_hour", "last_hour", "hour"}
    | {"kept_from"}
)


def as_dict(row: Any) -> dict[str, Any]:
    """A row with the names and units of the views: dollars, milliseconds, ISO 8601 in UTC. For JSON and CSV alike."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(row):
        name, value = field.name, getattr(row, field.name)
        if name == "cost_nusd":
            found["cost_usd"] = None if value is None else value / 1e9
        elif name == "duration_us":
            found["duration_ms"] = _thousandth(value)
        elif isinstance(value, list):
            found[name] = [as_dict(item) for item in value]
        else:
            found[name] = iso(value) if name in _MOMENTS and value is not None else value
    return found


def iso(at: int) -> str:
    """ISO 8601 in UTC with microseconds, as the views of SQLite write it."""
    return moment(at).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1e3
