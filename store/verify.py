"""The books: proves that the ledger agrees with itself, and names the calls where it does not.

1. *Sums are rows*: `usage_hourly`, `sessions` and `latency_hourly` say what the rows of `calls` say.
2. *Nothing is missing*: each boot's numbers are dense from 1; a hole is covered by a gap, in flight, or a loss.
3. *Parts fit their totals*: cached tokens in the input, reasoning in the output, times in the duration, and a number
   is there exactly where its source says so.

What pruning took is not held against the sums. Metrics against SQL are checked where the metrics are, not here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from store import rollups
from store.query.filters import group_key, hour_of
from store.query.usage import kept_from
from store.schema import (
    HOUR_US,
    SUMS,
    USAGE_KEY,
    calls,
    gaps,
    journal_positions,
    latency_hourly,
    sessions,
    usage_hourly,
)

SAMPLE = 10
"""Call ids named per finding."""
MOST = 100
"""Findings of one kind that are told one by one; the rest is a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place where the books do not balance."""

    kind: str
    """usage, session, latency, missing, twice, or the name of an arithmetic rule."""
    detail: str
    call_ids: tuple[str, ...] = ()
    """Some of the calls concerned, at most `SAMPLE`; for a missing number, its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check of the books found."""

    calls: int
    findings: list[Finding]
    in_flight: int
    """Numbers without a row in boots whose journal is still being read."""
    noted: dict[str, int]
    """Numbers known to have no row, by reason: counted losses, and what was pruned."""

    @property
    def balanced(self) -> bool:
        """True when nothing was found."""
        return not self.findings


def verify(connection: sa.Connection, *, in_flight: Mapping[str, Collection[int]] | None = None) -> Report:
    """Checks everything. `in_flight`: numbers per boot that the journals know to be open or not yet read.

    Without `in_flight`, each hole in a boot that still has a journal position counts as in flight.
    """
    kept = kept_from(connection) or 0
    holes = list(_holes(connection))
    missing, open_numbers = _sort_holes(connection, holes, in_flight)
    findings = [
        *_first(_usage(connection, -(-kept // HOUR_US) * HOUR_US)),
        *_first(_sessions(connection, kept)),
        *_first(_latency(connection, -(-kept // HOUR_US) * HOUR_US)),
        *_first(iter(missing)),
        *_first(_twice(connection)),
        *_arithmetic(connection),
    ]
    count = connection.scalar(sa.select(sa.func.count()).select_from(calls)) or 0
    return Report(calls=count, findings=findings, in_flight=open_numbers, noted=_noted(connection))


def _first(findings: Iterator[Finding]) -> Iterator[Finding]:
    """At most `MOST` findings, then one that says that there are more: a wrecked ledger is told in one page."""
    yield from islice(findings, MOST)
    more = next(findings, None)
    if more is not None:
        yield Finding(
            kind=more.kind, detail=f"more than {MOST} places; `weir db rebuild-rollups` mends sums, not calls"
        )


def _usage(connection: sa.Connection, since: int) -> Iterator[Finding]:
    key = [hour_of(connection), *(calls.c[name] for name in USAGE_KEY[1:])]
    rows = sa.select(*key, *rollups.call_sums()).where(calls.c.started_at >= since).group_by(*key)
    kept = sa.select(usage_hourly).where(usage_hourly.c.hour >= since)
    for name, said, found in _differing(connection, kept, rows, len(USAGE_KEY)):
        hour, *names = name
        concerned = [calls.c.started_at >= hour, calls.c.started_at < hour + HOUR_US]
        concerned += [calls.c[column] == value for column, value in zip(USAGE_KEY[1:], names, strict=True)]
        yield Finding(
            kind="usage",
            detail=f"hour {hour} {'/'.join(names)}: {_difference(SUMS, said, found)}",
            call_ids=_sample(connection, *concerned),
        )


def _sessions(connection: sa.Connection, since: int) -> Iterator[Finding]:
    key = (group_key(connection, "session_id"), group_key(connection, "project"))
    span = (sa.func.min(calls.c.started_at), sa.func.max(calls.c.started_at))
    rows = sa.select(*key, *span, *rollups.call_sums()).where(calls.c.session_source != "none").group_by(*key)
    pruned = sa.select(sessions.c.session_id, sessions.c.project).where(sessions.c.first_call_at < since)
    clipped = {tuple(row) for row in connection.execute(pruned)}
    names = ("first_call_at", "last_call_at", *SUMS)
    for name, said, found in _differing(connection, sa.select(sessions), rows, 2):
        if name in clipped:
            continue
        session_id, project = name
        yield Finding(
            kind="session",
            detail=f"session {session_id!r} project {project!r}: {_difference(names, said, found)}",
            call_ids=_sample(connection, calls.c.session_id == session_id, calls.c.project == project),
        )


def _latency(connection: sa.Connection, since: int) -> Iterator[Finding]:
    timed = [(calls.c.outcome == "ok") & calls.c[f"{metric}_us"].is_not(None) for metric in rollups.METRICS]
    key = [hour_of(connection), calls.c.provider, calls.c.model]
    rows = sa.select(*key, *map(_count, timed)).where(calls.c.started_at >= since, sa.or_(*timed)).group_by(*key)
    table = latency_hourly.c
    sums = [sa.func.sum(sa.case((table.metric == metric, table.n), else_=0)) for metric in rollups.METRICS]
    kept_key = (table.hour, table.provider, table.model)
    kept = sa.select(*kept_key, *sums).where(table.hour >= since).group_by(*kept_key)
    for (hour, provider, model), said, found in _differing(connection, kept, rows, 3):
        concerned = (calls.c.started_at >= hour, calls.c.started_at < hour + HOUR_US)
        yield Finding(
            kind="latency",
            detail=f"hour {hour} {provider}/{model}: {_difference(rollups.METRICS, said, found)}",
            call_ids=_sample(connection, *concerned, calls.c.provider == provider, calls.c.model == model),
        )


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


_Sums = tuple[int, ...]


def _differing(
    connection: sa.Connection, kept: sa.Select[Any], rows: sa.Select[Any], keys: int
) -> Iterator[tuple[tuple[Any, ...], _Sums | None, _Sums | None]]:
    """Keys for which the sums kept and the sums over rows differ; None for a side that knows nothing of the key."""
    said = {tuple(row[:keys]): tuple(map(int, row[keys:])) for row in connection.execute(kept)}
    for row in connection.execute(rows):
        key, found = tuple(row[:keys]), tuple(map(int, row[keys:]))
        before = said.pop(key, None)
        if before != found:
            yield key, before, found
    yield from ((key, before, None) for key, before in said.items())


def _difference(names: Collection[str], said: _Sums | None, found: _Sums | None) -> str:
    if said is None or found is None:
        return "no sums for these calls" if said is None else "sums without calls"
    pairs = zip(names, said, found, strict=True)
    return ", ".join(f"{name} is {a}, the calls say {b}" for name, a, b in pairs if a != b)


@dataclass(frozen=True, slots=True)
class _Hole:
    boot_id: str
    first: int
    last: int
    before: str | None
    after: str


def _holes(connection: sa.Connection) -> Iterator[_Hole]:
    """Runs of numbers that no row bears, below a number that one does."""
    call = calls.c
    over: dict[str, Any] = {"partition_by": call.boot_id, "order_by": call.seq}
    numbered = sa.select(
        call.boot_id,
        call.seq,
        call.call_id,
        sa.func.coalesce(sa.over(sa.func.lag(call.seq), **over), 0).label("before"),
        sa.over(sa.func.lag(call.call_id, type_=call.call_id.type), **over).label("neighbour"),
    ).subquery()
    query = sa.select(numbered).where(numbered.c.seq > numbered.c.before + 1)
    for boot_id, seq, call_id, before, neighbour in connection.execute(query):
        yield _Hole(boot_id, before + 1, seq - 1, neighbour, call_id)


def _sort_holes(
    connection: sa.Connection, holes: list[_Hole], in_flight: Mapping[str, Collection[int]] | None
) -> tuple[list[Finding], int]:
    """Proven losses, and how many numbers are only not there yet."""
    read = set(connection.scalars(sa.select(journal_positions.c.boot_id)))
    covered: dict[str, list[tuple[int, int]]] = {}
    for boot_id, first, last in connection.execute(sa.select(gaps.c.boot_id, gaps.c.seq_from, gaps.c.seq_to)):
        covered.setdefault(boot_id, []).append((first, last))
    findings, waiting = [], 0
    for hole in holes:
        for first, last in _uncovered(hole.first, hole.last, covered.get(hole.boot_id, ())):
            if in_flight is None and hole.boot_id in read:
                waiting += last - first + 1
                continue
            known = [(seq, seq) for seq in (in_flight or {}).get(hole.boot_id, ()) if first <= seq <= last]
            waiting += len(known)
            findings += [_missing(hole, *span) for span in _uncovered(first, last, known)]
    return findings, waiting


def _uncovered(first: int, last: int, covers: Collection[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is left of first..last without the spans of `covers`."""
    for start, end in sorted(covers):
        if end < first or start > last:
            continue
        if start > first:
            yield first, start - 1
        first = end + 1
    if first <= last:
        yield first, last


def _missing(hole: _Hole, first: int, last: int) -> Finding:
    numbers = f"number {first}" if first == last else f"numbers {first} to {last}"
    neighbours = tuple(name for name in (hole.before, hole.after) if name)
    return Finding(kind="missing", detail=f"boot {hole.boot_id}: {numbers}: no call, no gap", call_ids=neighbours)


def _twice(connection: sa.Connection) -> Iterator[Finding]:
    key = (calls.c.boot_id, calls.c.seq)
    query = sa.select(*key).group_by(*key).having(sa.func.count() > 1)
    for boot_id, seq in connection.execute(query).all():
        concerned = _sample(connection, calls.c.boot_id == boot_id, calls.c.seq == seq)
        yield Finding(kind="twice", detail=f"boot {boot_id}: number {seq} has several calls", call_ids=concerned)


def _arithmetic(connection: sa.Connection) -> Iterator[Finding]:
    rules = _rules()
    broken = connection.execute(sa.select(*map(_count, rules.values())).select_from(calls)).one()
    for (kind, rule), count in zip(rules.items(), broken, strict=True):
        if count:
            yield Finding(kind=kind, detail=f"{count} calls", call_ids=_sample(connection, rule))


def _rules() -> dict[str, sa.ColumnElement[bool]]:
    """What must never be true of a row. A comparison with NULL is not true: unknown breaks no rule."""
    call = calls.c
    cached = sa.func.coalesce(call.cache_read_tokens, 0) + sa.func.coalesce(call.cache_write_tokens, 0)
    counted = call.input_tokens.is_not(None) | call.output_tokens.is_not(None)
    numbers = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
    return {
        "cached_above_input": cached > call.input_tokens,
        "reasoning_above_output": call.reasoning_tokens > call.output_tokens,
        "negative": sa.or_(*(call[name] < 0 for name in (*numbers, "cost_nusd", "duration_us"))),
        "time_above_duration": (call.ttft_us > call.duration_us) | (call.first_chunk_us > call.duration_us),
        "cost_without_source": (call.cost_source == "none") != call.cost_nusd.is_(None),
        "usage_without_source": (call.usage_source == "none") & counted,
    }


def _sample(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> tuple[str, ...]:
    query = sa.select(calls.c.call_id).where(*conditions).order_by(calls.c.started_at.desc()).limit(SAMPLE)
    return tuple(connection.scalars(query))


def _noted(connection: sa.Connection) -> dict[str, int]:
    count = sa.func.sum(gaps.c.seq_to - gaps.c.seq_from + 1)
    query = sa.select(gaps.c.reason, count).group_by(gaps.c.reason).order_by(gaps.c.reason)
    return {reason: int(number) for reason, number in connection.execute(query)}
