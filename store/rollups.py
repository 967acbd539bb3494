"""The sums kept beside the rows: per session, per hour, and log-scale buckets of latency.

One fold makes them, whether rows have just been inserted or a rebuild reads old ones, so both give the same sums.
`unpriced` counts calls whose tokens are known but not their price, `unmeasured` those that were answered without any
known tokens: a total is complete when both are 0. Latency counts only calls that went well, or fast failures would
flatter it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from store.bulk import Insert
from store.record import COLUMNS, Outcome, UsageSource
from store.schema import HOUR_US, LATENCY_KEY, SUMS, USAGE_KEY, calls, latency_hourly, sessions, usage_hourly

METRICS = ("duration", "ttft", "first_chunk", "overhead", "inter_token")
"""What `latency_hourly` keeps; each is the column of that name with `_us`."""
FOLDED = (
    *("started_at", "session_id", "session_source", "project", "upstream", "provider", "model", "operation"),
    *("outcome", "usage_source", "cost_nusd", "input_tokens", "output_tokens", "cache_read_tokens"),
    *("cache_write_tokens", "reasoning_tokens", *(f"{metric}_us" for metric in METRICS)),
)
"""The columns that the fold reads, in the order in which it wants them."""
pick = itemgetter(*(COLUMNS.index(name) for name in FOLDED))
"""Row of `calls` → what the fold reads of it."""

# Outcomes that count as no error (`CallRecord.failed`), and those of calls that the provider did no work for.
NO_FAULT = frozenset({Outcome.OK.value, Outcome.CLIENT_CLOSED.value})
NO_ANSWER = frozenset({Outcome.UPSTREAM_ERROR.value, Outcome.UPSTREAM_UNREACHABLE.value, Outcome.REJECTED.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollups:
    """Rows of the three tables, each sorted by its key."""

    sessions: list[tuple[Any, ...]]
    usage: list[tuple[Any, ...]]
    latency: list[tuple[Any, ...]]


def bucket_of(microseconds: int) -> int:
    """floor(4·log2(µs)) in whole numbers: the fourth power's bit length, exact where a float logarithm is not."""
    return (microseconds**4).bit_length() - 1 if microseconds > 0 else 0


def bucket_middle(bucket: int) -> float:
    """Microseconds that stand for a bucket: its geometric middle, at most 9 % off."""
    return float((1 << bucket // 4) * _MIDDLES[bucket % 4])


_MIDDLES = (1.0905077326652577, 1.2968395546510096, 1.5422108254079407, 1.8340080864093424)


def fold(rows: Iterable[tuple[Any, ...]]) -> Rollups:
    """The sums of `rows`, each given as `FOLDED` says."""
    usage: dict[tuple[Any, ...], list[tuple[int, ...]]] = defaultdict(list)
    by_session: dict[tuple[Any, ...], list[tuple[int, ...]]] = defaultdict(list)
    timed: dict[tuple[Any, ...], list[tuple[int | None, ...]]] = defaultdict(list)
    for row in rows:
        started_at, session_id, source, project, upstream, provider, model = row[:7]
        amounts = _amounts(row)
        hour = started_at - started_at % HOUR_US
        usage[hour, project, upstream, provider, model].append(amounts)
        if source != "none":
            by_session[session_id, project].append((started_at, *amounts))
        if row[8] == "ok":
            timed[hour, provider, model].append(row[16:])
    return Rollups(
        sessions=sorted((*key, *_session(found)) for key, found in by_session.items()),
        usage=sorted((*key, *map(sum, zip(*found, strict=True))) for key, found in usage.items()),
        latency=sorted(row for key, found in timed.items() for row in _buckets(key, found)),
    )


def _buckets(key: tuple[Any, ...], found: list[tuple[int | None, ...]]) -> Iterator[tuple[Any, ...]]:
    for metric, values in zip(METRICS, zip(*found, strict=True), strict=True):
        known = (value for value in values if value is not None)
        for bucket, n in Counter(map(bucket_of, known)).items():
            yield (*key, metric, bucket, n)


def _amounts(row: tuple[Any, ...]) -> tuple[int, ...]:
    """What one call adds, in the order of `schema.SUMS`."""
    operation, outcome, usage_source, cost, tokens_in, tokens_out = row[7:13]
    unknown = tokens_in is None and tokens_out is None
    return (
        1,
        outcome not in NO_FAULT,
        cost is None and not unknown,
        unknown and operation != "" and outcome not in NO_ANSWER,
        usage_source == UsageSource.ESTIMATED.value,
        tokens_in or 0,
        tokens_out or 0,
        row[13] or 0,
        row[14] or 0,
        row[15] or 0,
        cost or 0,
        row[16] or 0,
    )


def _session(found: list[tuple[int, ...]]) -> tuple[int, ...]:
    times, *sums = zip(*found, strict=True)
    return (min(times), max(times), *map(sum, sums))


def call_sums() -> list[sa.ColumnElement[Any]]:
    """The same sums as columns of a question over `calls`, in the order of `schema.SUMS`; tests hold it to `fold`."""
    call = calls.c
    measured = call.input_tokens.is_not(None) | call.output_tokens.is_not(None)
    counted = {
        "calls": sa.true(),
        "errors": call.outcome.not_in(sorted(NO_FAULT)),
        "unpriced": call.cost_nusd.is_(None) & measured,
        "unmeasured": ~measured & (call.operation != "") & call.outcome.not_in(sorted(NO_ANSWER)),
        "estimated": call.usage_source == "estimated",
    }
    return [
        sa.func.sum(sa.case((counted[name], 1), else_=0) if name in counted else sa.func.coalesce(call[name], 0))
        for name in SUMS
    ]


def add(connection: sa.Connection, rollups: Rollups) -> None:
    """Adds `rollups` to what the tables hold, in the caller's transaction."""
    if connection.dialect.name == "postgresql":
        _POSTGRESQL_SESSIONS.run(connection, rollups.sessions)
    else:
        _SQLITE_SESSIONS.run(connection, rollups.sessions)
    _USAGE.run(connection, rollups.usage)
    _LATENCY.run(connection, rollups.latency)


def _adding(table: str, names: Iterable[str]) -> str:
    return ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in names)


def _sessions_insert(least: str, greatest: str) -> Insert:
    times = (
        f"first_call_at = {least}(sessions.first_call_at, excluded.first_call_at), "
        f"last_call_at = {greatest}(sessions.last_call_at, excluded.last_call_at)"
    )
    return Insert(sessions, f"(session_id, project) DO UPDATE SET {times}, {_adding('sessions', SUMS)}")


_SQLITE_SESSIONS = _sessions_insert("min", "max")
_POSTGRESQL_SESSIONS = _sessions_insert("least", "greatest")
_USAGE = Insert(usage_hourly, f"({', '.join(USAGE_KEY)}) DO UPDATE SET {_adding('usage_hourly', SUMS)}")
_LATENCY = Insert(latency_hourly, f"({', '.join(LATENCY_KEY)}) DO UPDATE SET {_adding('latency_hourly', ['n'])}")
