"""Calls, tokens and money over time: by project, model, day, session …, from the hourly sums where they suffice.

A span that does not begin or end on the hour is made of whole hours from the sums and of its two ragged ends from the
calls themselves, so it is exact. Local days are composed of UTC hours: in zones that are half an hour off, so are
their days.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import add
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from store.query.filters import group_key, hour_of, matching, within
from store.query.rows import Counts, Span, UnpricedRow, UsageRow
from store.rollups import call_sums
from store.schema import HOUR_US, SUMS, calls, marks, moment, sessions, usage_hourly

GROUPS = {
    "project": "project",
    "upstream": "upstream",
    "provider": "provider",
    "model": "model",
    "day": "day",
    "hour": "hour",
    "session": "session_id",
    "user": "user_id",
    "key": "key_id",
}
"""What `by` may name → the field of `UsageRow` that it sets."""
_TIMES = {"day", "hour"}
_SUMMED = {"project", "upstream", "provider", "model"}
"""Names that `usage_hourly` knows; for the others the calls are read."""

_Sums = dict[tuple[Any, ...], tuple[int, ...]]


def usage(
    connection: sa.Connection,
    span: Span = Span(),
    *,
    by: Sequence[str] = (),
    tz: str = "UTC",
    where: Mapping[str, str] | None = None,
) -> list[UsageRow]:
    """Sums per group; by time if asked for, then dearest first. ValueError for unknown names in `by` or `where`."""
    unknown = [name for name in by if name not in GROUPS]
    if unknown:
        raise ValueError(f"cannot group by {', '.join(unknown)}; known: {', '.join(GROUPS)}")
    fields = tuple(dict.fromkeys(GROUPS[name] for name in by))
    names = [name for name in fields if name not in _TIMES]
    timed = len(names) < len(fields)
    if {*names, *(where or {})} <= _SUMMED:
        found = _from_hours(connection, span, names, timed, where)
    else:
        found = [_from_calls(connection, span, names, timed, where)]
    merged = _merge(found, _labels(fields, ZoneInfo(tz)))
    rows = [_row(fields, key, sums) for key, sums in merged.items()]
    return sorted(rows, key=lambda row: (row.day or "", row.hour or 0, -row.cost_nusd, -row.calls, repr(row)))


def totals(connection: sa.Connection, span: Span = Span(), *, where: Mapping[str, str] | None = None) -> UsageRow:
    """The sums over everything in `span`."""
    return next(iter(usage(connection, span, where=where)), UsageRow())


def counts(connection: sa.Connection) -> Counts:
    """How much the ledger holds."""
    first, last, rows = connection.execute(
        sa.select(sa.func.min(calls.c.started_at), sa.func.max(calls.c.started_at), sa.func.count())
    ).one()
    return Counts(
        calls=rows,
        summed_calls=int(connection.scalar(sa.select(sa.func.sum(usage_hourly.c.calls))) or 0),
        sessions=int(connection.scalar(sa.select(sa.func.count()).select_from(sessions)) or 0),
        first_call_at=first,
        last_call_at=last,
        kept_from=kept_from(connection),
    )


def kept_from(connection: sa.Connection) -> int | None:
    """From when on calls are complete; None when none were ever pruned."""
    return connection.scalar(sa.select(marks.c.at).where(marks.c.name == "kept_from"))


def unpriced_models(connection: sa.Connection, span: Span = Span()) -> list[UnpricedRow]:
    """Models without a price, the most used first. Whole hours: those that begin in `span`."""
    table = usage_hourly.c
    names = (table.upstream, table.provider, table.model)
    query = (
        sa.select(
            *names,
            sa.func.sum(table.unpriced).label("unpriced"),
            sa.func.sum(table.calls).label("calls"),
            sa.func.min(table.hour).label("first_hour"),
            sa.func.max(table.hour).label("last_hour"),
        )
        .where(table.unpriced > 0, *within(table.hour, span))
        .group_by(*names)
    )
    found = [
        UnpricedRow(
            upstream=row.upstream or None,
            provider=row.provider or None,
            model=row.model or None,
            unpriced=int(row.unpriced),
            calls=int(row.calls),
            first_hour=row.first_hour,
            last_hour=row.last_hour,
        )
        for row in connection.execute(query)
    ]
    return sorted(found, key=lambda row: (-row.unpriced, row.upstream or "", row.provider or "", row.model or ""))


def _from_hours(
    connection: sa.Connection, span: Span, names: list[str], timed: bool, where: Mapping[str, str] | None
) -> list[_Sums]:
    """Whole hours from the sums, ragged ends from the calls."""
    since, until = span
    kept = kept_from(connection)
    if since is not None and kept is not None and since < kept:
        since -= since % HOUR_US  # the ragged end has been pruned: rather the whole hour than a hole
    first = None if since is None else -(-since // HOUR_US) * HOUR_US
    last = None if until is None else until // HOUR_US * HOUR_US
    if first is not None and last is not None and first > last:
        return [_from_calls(connection, Span(since, until), names, timed, where)]
    found = [_from_rollup(connection, Span(first, last), names, timed, where)]
    if first != since:
        found.append(_from_calls(connection, Span(since, first), names, timed, where))
    if last != until:
        found.append(_from_calls(connection, Span(last, until), names, timed, where))
    return found


def _from_rollup(
    connection: sa.Connection, span: Span, names: list[str], timed: bool, where: Mapping[str, str] | None
) -> _Sums:
    table = usage_hourly.c
    keys = [*([table.hour] if timed else []), *(table[name] for name in names)]
    sums = [sa.func.sum(table[name]) for name in SUMS]
    query = sa.select(*keys, *sums).where(*within(table.hour, span), *matching(usage_hourly, where)).group_by(*keys)
    return _read(connection, query, len(keys), timed)


def _from_calls(
    connection: sa.Connection, span: Span, names: list[str], timed: bool, where: Mapping[str, str] | None
) -> _Sums:
    keys = [*([hour_of(connection)] if timed else []), *(group_key(connection, name) for name in names)]
    query = sa.select(*keys, *call_sums()).where(*within(calls.c.started_at, span), *matching(calls, where))
    return _read(connection, query.group_by(*keys), len(keys), timed)


def _read(connection: sa.Connection, query: sa.Select[Any], keys: int, timed: bool) -> _Sums:
    """Rows → sums by key; the first place of a key is the hour, None where time is not asked for."""
    found: _Sums = {}
    for row in connection.execute(query):
        if row[-len(SUMS)] is None:
            continue  # an ungrouped sum over no rows
        key = tuple(row[:keys]) if timed else (None, *row[:keys])
        found[key] = tuple(map(int, row[keys:]))
    return found


def _labels(fields: Sequence[str], zone: ZoneInfo) -> Any:
    """A function from a key as read to the values of `fields`."""
    days: dict[int, str] = {}

    def day_of(hour: int) -> str:
        if hour not in days:
            days[hour] = moment(hour).astimezone(zone).date().isoformat()
        return days[hour]

    def label(key: tuple[Any, ...]) -> tuple[Any, ...]:
        hour, names = key[0], iter(key[1:])
        times = {"hour": hour, "day": day_of(hour) if "day" in fields else None}
        return tuple(times[field] if field in times else next(names) for field in fields)

    return label


def _merge(found: Iterable[_Sums], label: Any) -> _Sums:
    merged: _Sums = {}
    for part in found:
        for key, sums in part.items():
            name = label(key)
            merged[name] = tuple(map(add, merged[name], sums)) if name in merged else sums
    return merged


def _row(fields: Sequence[str], key: tuple[Any, ...], sums: tuple[int, ...]) -> UsageRow:
    values: dict[str, Any] = dict(zip(SUMS, sums, strict=True))
    values |= {field: value if value != "" else None for field, value in zip(fields, key, strict=True)}
    return UsageRow(**values)
