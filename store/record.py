"""What one call leaves behind: `CallRecord = Call + Reading + Cost`.

Three sources, three values, one row. `Call` is known before the first byte goes upstream (the journal's intent),
`Reading` is what the meter read as the bytes passed, `Cost` is what the price book made of it. Pure: values only.

Units: times `*_at` are integer microseconds since 1970 UTC, durations `*_us` integer microseconds from the monotonic
clock, money `*_nusd` integer nano-dollars, sizes bytes. `None` always means *not known*, never zero.

The classes are slotted but not frozen: a frozen dataclass of this size costs 9 µs to make against 2 µs, on the path
of every call. By convention nobody changes one after handing it over. Code names the fields; only the journal builds
them by position (2.5 µs against 9 µs).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How the carrying of a call ended. Every call has exactly one."""

    OK = "ok"
    """The upstream answered below 400 and its answer passed whole."""
    UPSTREAM_ERROR = "upstream_error"
    """The upstream answered with status 400 or above."""
    STREAM_ERROR = "stream_error"
    """Status below 400, but the stream carried an error event."""
    UPSTREAM_CUT = "upstream_cut"
    """The upstream closed or broke the connection before its answer was whole."""
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    """No connection, no TLS, or no answer that is HTTP."""
    TIMEOUT = "timeout"
    """weir's own limit for connecting, the first byte or silence ran out."""
    CLIENT_CLOSED = "client_closed"
    """The client left before the answer was whole."""
    REJECTED = "rejected"
    """weir refused the request; nothing was forwarded."""
    INTERRUPTED = "interrupted"
    """The worker that carried the call is gone (kill -9, crash); written by the recorder."""
    WEIR_FAULT = "weir_fault"
    """A fault in weir itself."""


class UsageSource(StrEnum):
    """Where the token counts of a call come from."""

    PROVIDER = "provider"
    """The provider reported them."""
    PARTIAL = "partial"
    """The provider reported some; the answer broke off before its final usage came."""
    ESTIMATED = "estimated"
    """weir counted the text itself, with a vocabulary that may not be the model's."""
    NONE = "none"
    """Not known."""


class CostSource(StrEnum):
    """Where the cost of a call comes from."""

    PROVIDER = "provider"
    """The provider said what it charged."""
    OVERRIDE = "override"
    """The operator's `[[prices]]`."""
    CATALOGUE = "catalogue"
    """The price catalogue (genai-prices)."""
    NONE = "none"
    """No price is known; the cost is NULL, not 0."""


@dataclass(slots=True)
class Call:
    """Who calls, when and where to. Known before the first upstream byte; the payload of an INTENT frame."""

    call_id: str
    """UUIDv7 made by weir, in its 36-character form; returned to the client as `x-weir-call-id`."""
    boot_id: str
    """One life of one worker process (32 hex digits)."""
    seq: int
    """Dense from 1 within a boot: a hole is a lost row."""
    started_at: int
    """When the request's head had arrived."""
    method: str
    path: str
    """Raw path as the upstream gets it, without query (keys hide there), at most 512 characters."""
    upstream: str = ""
    """Name of the configured upstream; empty when none was found."""
    provider: str = ""
    """OpenTelemetry `gen_ai.provider.name` of the upstream."""
    operation: str = ""
    """OpenTelemetry `gen_ai.operation.name`: chat, text_completion, embeddings, generate_content; else empty."""
    wire_format: str = "opaque"
    """Which API the bytes speak, such as `openai.chat`; `opaque` when unknown."""
    session_id: str = ""
    """Never empty in the ledger: a call that belongs to no named session has its own call_id here."""
    session_source: str = "none"
    """What named the session (`header`, `path`, …); `none` when nothing did."""
    project: str = ""
    user_id: str = ""
    key_id: str = ""
    """Keyed fingerprint of the credential (`k-` and 16 hex digits); empty when the request carried none."""
    tags: dict[str, str] | None = None
    trace_id: str = ""
    """From `traceparent`."""


@dataclass(slots=True)
class Reading:
    """What passed: the meter's whole result, and the payload beside `Call` in an OUTCOME frame."""

    outcome: str = Outcome.WEIR_FAULT
    http_status: int | None = None
    error_type: str | None = None
    """Low-cardinality reason of a failure: the provider's error type or code, or weir's own reason."""
    request_model: str | None = None
    """As the request names it: body, else path."""
    response_model: str | None = None
    stream: bool | None = None
    """Whether the *answer* came as a stream. None when there was no answer."""
    finish_reason: str | None = None
    max_tokens: int | None = None
    """The output limit that the request asked for; some providers bill it."""
    service_tier: str | None = None
    response_id: str | None = None
    """The provider's id of the answer object (`chatcmpl-…`, `msg_…`, `resp_…`)."""
    upstream_request_id: str | None = None
    """From the answer's headers; what a support ticket asks for."""

    input_tokens: int | None = None
    """All input, cached parts included."""
    output_tokens: int | None = None
    """All output, reasoning included."""
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    total_tokens: int | None = None
    usage_source: str = UsageSource.NONE
    usage_rules: str | None = None
    """Names of the reconciliation rules that fired, comma-separated."""
    estimator: str | None = None
    """Vocabulary of an estimate (`o200k_base`, `cl100k_base`)."""
    raw_usage: dict[str, Any] | None = None
    """The provider's own usage object: numbers and short names only, at most 16 KiB."""
    reported_cost_nusd: int | None = None
    """What the provider said it charged."""
    credits_remaining: float | None = None

    duration_us: int | None = None
    """Request head received to last byte handed to the client."""
    first_chunk_us: int | None = None
    """To the first byte of the answer's body."""
    ttft_us: int | None = None
    """To the first event *with content*; None if not streamed."""
    inter_token_us: int | None = None
    """Mean gap between events with content."""
    overhead_us: int | None = None
    """What weir itself added before sending on: request head received to request head sent."""
    chunks: int | None = None
    """HTTP chunks (or reads, where the answer is not chunked) of the answer's body."""
    content_events: int | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    meter_fault: str | None = None
    """First thing in the answer that could not be read as its format says; reading went on."""


@dataclass(slots=True, kw_only=True)
class Cost:
    """What it was worth."""

    cost_nusd: int | None = None
    cost_source: str = CostSource.NONE
    price_id: str | None = None
    """Which entry of which book priced it, such as `genai-prices 0.2.3 openai/gpt-4o`."""


@dataclass(slots=True)
class CallRecord:
    """One row of `calls`: the three parts, and the one model name that rollups and metrics use."""

    call: Call
    reading: Reading
    cost: Cost

    @property
    def model(self) -> str:
        """Canonical model name; empty when neither request nor answer names one."""
        return canonical_model(self.reading, self.call.wire_format)

    @property
    def failed(self) -> bool:
        """True when the call counts as an error in rollups: neither ok nor left by the client."""
        return self.reading.outcome not in (Outcome.OK, Outcome.CLIENT_CLOSED)

    def row(self) -> dict[str, Any]:
        """The parts laid flat: column name → value, in the order of `COLUMNS`."""
        parts = {name: getattr(part, name) for part, names in self._parts() for name in names}
        parts["model"] = self.model
        return parts

    def _parts(self) -> tuple[tuple[Call | Reading | Cost, tuple[str, ...]], ...]:
        return ((self.call, CALL_FIELDS), (self.reading, READING_FIELDS), (self.cost, COST_FIELDS))


CALL_FIELDS = tuple(f.name for f in fields(Call))
READING_FIELDS = tuple(f.name for f in fields(Reading))
COST_FIELDS = tuple(f.name for f in fields(Cost))
COLUMNS = (*CALL_FIELDS, *READING_FIELDS, *COST_FIELDS, "model")
"""Every column of `calls`, in record order."""


def canonical_model(reading: Reading, wire_format: str) -> str:
    """The request's model name, else the answer's: answers lie (`not implmented`), requests are what is asked for.

    Azure's classic paths name a deployment instead of a model, so there the answer comes first.
    """
    names = (reading.request_model, reading.response_model)
    if wire_format.startswith("azure."):
        names = names[::-1]
    return next((name for name in names if name), "")


SEMCONV = {
    "session_id": "gen_ai.conversation.id",
    "provider": "gen_ai.provider.name",
    "operation": "gen_ai.operation.name",
    "request_model": "gen_ai.request.model",
    "response_model": "gen_ai.response.model",
    "response_id": "gen_ai.response.id",
    "finish_reason": "gen_ai.response.finish_reasons",
    "max_tokens": "gen_ai.request.max_tokens",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_write.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "http_status": "http.response.status_code",
    "method": "http.request.method",
    "error_type": "error.type",
    "user_id": "user.id",
}
"""Record field → OpenTelemetry attribute (semantic-conventions-genai, status Development, read 2026-11)."""
