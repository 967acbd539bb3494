"""Percentiles of latency from the log-scale buckets: mergeable over any hours, providers and models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from store.query.filters import matching, within
from store.query.rows import LatencyRow, Span
from store.rollups import METRICS, bucket_middle
from store.schema import HOUR_US, latency_hourly

_NAMES = ("provider", "model")


def latency(
    connection: sa.Connection,
    span: Span = Span(),
    *,
    by: Sequence[str] = ("model",),
    where: Mapping[str, str] | None = None,
) -> list[LatencyRow]:
    """p50, p95, p99 per group and metric, of calls that went well. Whole hours: `since` is moved back to its hour."""
    unknown = [name for name in (*by, *(where or {})) if name not in _NAMES]
    if unknown:
        raise ValueError(f"latency knows no {', '.join(unknown)}; known: provider, model")
    table = latency_hourly.c
    since = None if span.since is None else span.since - span.since % HOUR_US
    keys = [*(table[name] for name in by), table.metric, table.bucket]
    query = (
        sa.select(*keys, sa.func.sum(table.n))
        .where(*within(table.hour, Span(since, span.until)), *matching(latency_hourly, where))
        .group_by(*keys)
        .order_by(*keys)
    )
    groups: dict[tuple[Any, ...], list[tuple[int, int]]] = defaultdict(list)
    for *key, bucket, n in connection.execute(query):
        groups[tuple(key)].append((bucket, int(n)))
    rows = [_row(by, key, sorted(buckets)) for key, buckets in groups.items()]
    return sorted(rows, key=lambda row: (METRICS.index(row.metric), -row.calls, row.provider or "", row.model or ""))


def percentile(buckets: Sequence[tuple[int, int]], percent: int) -> float:
    """Milliseconds below which `percent` of the calls lie; `buckets` are (bucket, calls), sorted and not empty."""
    total = sum(n for _, n in buckets)
    up_to = 0
    for bucket, n in buckets:
        up_to += n
        if up_to * 100 >= total * percent:
            return bucket_middle(bucket) / 1e3
    raise ValueError("no calls, no percentile")


def _row(by: Sequence[str], key: tuple[Any, ...], buckets: list[tuple[int, int]]) -> LatencyRow:
    *names, metric = key
    return LatencyRow(
        **{name: value or None for name, value in zip(by, names, strict=True)},
        metric=metric,
        calls=sum(n for _, n in buckets),
        p50_ms=percentile(buckets, 50),
        p95_ms=percentile(buckets, 95),
        p99_ms=percentile(buckets, 99),
    )
