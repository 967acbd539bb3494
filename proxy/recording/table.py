"""The table of metrics: names, labels, help, buckets, and how many values a label may take. Values only.

What a call adds to them is `proxy.metrics`, which is also where the metrics library is.
"""

from __future__ import annotations

from typing import NamedTuple

SECONDS = 1_000_000
"""Durations are kept in microseconds."""
DOLLARS = 1_000_000_000
"""Money is kept in nano-dollars."""

Edges = tuple[float, ...]
# OpenTelemetry's 14 edges for operations, then three more: without them a p99 of reasoning models sticks at the last.
DURATION_EDGES: Edges = tuple(0.01 * 2**power for power in range(17))
TTFT_EDGES: Edges = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 5, 7.5, 10, 20, 30, 60, 120, 300)
# Fine at the fast end: with OpenTelemetry's edges 140 tokens/s and 180 tokens/s both read 133.
TPOT_EDGES: Edges = tuple(
    edge / 10_000
    for edge in (10, 20, 30, 40, 60, 80, 100, 125, 150, 200, 250, 300, 400, 500, 750, 1000, 2000, 5000, 10_000)
)
TOKEN_EDGES = (16, 64, 256, *(1 << power for power in range(10, 22)))
OVERHEAD_EDGES = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
FLUSH_EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metric(NamedTuple):
    """One row of the table. `unit` is how many of what is counted make one of what is shown."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    unit: int = 1
    edges: tuple[float, ...] = ()


TABLE = (
    Metric("weir_calls_total", "counter", ("provider", "model", "operation", "project", "outcome"), "Finished calls."),
    Metric(
        "weir_tokens_total",
        "counter",
        ("provider", "model", "project", "type"),
        "Tokens. Types do not overlap: the sum over types is all tokens.",
    ),
    Metric("weir_cost_usd_total", "counter", ("provider", "model", "project"), "Cost of priced calls.", DOLLARS),
    Metric("weir_unpriced_calls_total", "counter", ("provider", "model"), "Calls with tokens and no known price."),
    Metric(
        "weir_usage_total", "counter", ("provider", "model", "source"), "Calls by where their token counts are from."
    ),
    Metric(
        "weir_call_duration_seconds",
        "histogram",
        ("provider", "model", "outcome"),
        "Request received to last byte handed on; outcome is ok, error or client_closed.",
        SECONDS,
        DURATION_EDGES,
    ),
    Metric(
        "weir_time_to_first_token_seconds",
        "histogram",
        ("provider", "model"),
        "Request received to first event with content; streams.",
        SECONDS,
        TTFT_EDGES,
    ),
    Metric(
        "weir_time_per_output_token_seconds",
        "histogram",
        ("provider", "model"),
        "(duration - time to first token) / (output tokens - 1) of whole streams.",
        SECONDS,
        TPOT_EDGES,
    ),
    Metric("weir_call_input_tokens", "histogram", ("provider", "model"), "Input tokens per call.", 1, TOKEN_EDGES),
    Metric("weir_call_output_tokens", "histogram", ("provider", "model"), "Output tokens per call.", 1, TOKEN_EDGES),
    Metric(
        "weir_proxy_overhead_seconds",
        "histogram",
        (),
        "What weir itself adds before it sends a request on.",
        SECONDS,
        OVERHEAD_EDGES,
    ),
    Metric("weir_meter_faults_total", "counter", ("wire_format",), "Calls whose answer was not as its format says."),
    Metric(
        "weir_calls_forwarded_total", "counter", (), "Calls begun: committed, pending and dropped records add up to it."
    ),
    Metric("weir_records_committed_total", "counter", (), "Records known to be in the store."),
    Metric("weir_records_written_total", "counter", (), "Records that this process added to the store."),
    Metric("weir_records_dropped_total", "counter", ("reason",), "Records lost for good. Each has a row in gaps."),
    Metric("weir_label_overflow_total", "counter", ("label",), "Observations folded into other because of a cap."),
    Metric("weir_price_errors_total", "counter", (), "Calls left unpriced because of a fault in a price book."),
    Metric("weir_journal_damage_total", "counter", (), "Runs of bytes in journals that were no frame."),
    Metric(
        "weir_recorder_flush_seconds", "histogram", (), "Time of one transaction with the store.", SECONDS, FLUSH_EDGES
    ),
    Metric("weir_inflight_calls", "gauge", ("provider",), "Calls being carried."),
    Metric(
        "weir_records_pending", "gauge", (), "Calls whose record is not in the store yet; those in flight included."
    ),
    Metric("weir_active_sessions", "gauge", (), "Named sessions with a call in the last five minutes."),
    Metric("weir_recorder_queue_depth", "gauge", (), "Records read and waiting in memory for the store."),
    Metric("weir_recorder_queue_capacity", "gauge", (), "Records that may wait in memory; more wait in the journal."),
    Metric("weir_recorder_lag_seconds", "gauge", (), "How long the oldest unwritten record has been waiting."),
    Metric("weir_journal_bytes", "gauge", (), "Bytes of journal on disk."),
    Metric("weir_workers", "gauge", (), "Worker processes that are up."),
    Metric("weir_store_up", "gauge", (), "1 when the store took what it was last given, else 0."),
    Metric("weir_build_info", "gauge", ("version",), "Always 1."),
)
"""Every metric, in the order of the exposition."""

BY_NAME = {metric.name: metric for metric in TABLE}

DROP_REASONS = ("oversized", "backlog", "journal_full", "ENOSPC", "EIO", "refused")
"""Reasons that exist from the start, as zero: a panel of losses must not be empty because nothing was lost."""
CAPS = {"provider": 20, "model": 100, "project": 50, "operation": 20, "wire_format": 50, "reason": 20, "outcome": 20}
"""How many values a label may take. `model` counts pairs of provider and model."""
