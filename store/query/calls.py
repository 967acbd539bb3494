"""Calls one by one: the last ones, one in full, new ones as they come, and all of them for an export."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from store.query.filters import matching, within
from store.query.rows import CallRow, Cursor, Span
from store.record import CALL_FIELDS, COLUMNS, COST_FIELDS, READING_FIELDS, Call, CallRecord, Cost, Reading
from store.rollups import NO_FAULT
from store.schema import calls as table

_COLUMNS = [table.c[name] for name in COLUMNS]
_READING = len(CALL_FIELDS)
_COST = _READING + len(READING_FIELDS)
_END = _COST + len(COST_FIELDS)


def calls(
    connection: sa.Connection,
    span: Span = Span(),
    *,
    limit: int = 50,
    where: Mapping[str, str] | None = None,
    failed: bool = False,
    before: Cursor | None = None,
    after: Cursor | None = None,
) -> list[CallRow]:
    """Calls, newest first, or oldest first behind `after`. A cursor is the `cursor` of a row already seen."""
    conditions = [*within(table.c.started_at, span), *matching(table, where)]
    if failed:
        conditions += failures()
    if before is not None:
        conditions += _beyond(before, later=False)
    if after is not None:
        conditions += _beyond(after, later=True)
    order = [column if after is not None else column.desc() for column in (table.c.started_at, table.c.call_id)]
    query = sa.select(*_COLUMNS).where(*conditions).order_by(*order).limit(limit)
    return [CallRow.of(_record(row)) for row in connection.execute(query)]


def call(connection: sa.Connection, call_id: str) -> CallRecord | None:
    """Everything about one call; None when there is none, or when `call_id` is no such id."""
    try:
        name = str(uuid.UUID(call_id))
    except ValueError:
        return None
    row = connection.execute(sa.select(*_COLUMNS).where(table.c.call_id == name)).first()
    return None if row is None else _record(row)


def records(
    connection: sa.Connection, span: Span = Span(), *, where: Mapping[str, str] | None = None
) -> Iterator[CallRecord]:
    """All calls in `span` as full records, oldest first, read as they are asked for."""
    conditions = [*within(table.c.started_at, span), *matching(table, where)]
    query = sa.select(*_COLUMNS).where(*conditions).order_by(table.c.started_at, table.c.call_id)
    # Given to the statement: on the connection it would turn every later statement into a cursor.
    with connection.execute(query, execution_options={"yield_per": 1000}) as found:
        for row in found:
            yield _record(row)


class Tail:
    """New calls as they end. A call gets its row when it is over, so rows do not come in the order of their start."""

    LOOKBACK = 3600 * 1_000_000
    """A call that ran longer than this is shown by `calls` only."""
    LATE = 60 * 1_000_000
    """How much later than its end a row may reach the ledger."""

    def __init__(
        self, *, where: Mapping[str, str] | None = None, failed: bool = False, shown: Iterable[CallRow] = ()
    ) -> None:
        self._conditions = matching(table, where) + (failures() if failed else [])
        self._seen = {row.call_id: row.started_at for row in shown}
        self._from: int | None = None

    def next(self, connection: sa.Connection, now: int, *, limit: int = 1000) -> list[CallRow]:
        """What has come since the last time, oldest first; the first time, what ended in the last minute."""
        started = now if self._from is None else self._from
        self._from = now
        ended = _ended(connection)
        query = (
            sa.select(*_COLUMNS)
            .where(table.c.started_at >= now - self.LOOKBACK, ended >= started - self.LATE, *self._conditions)
            .order_by(table.c.started_at.desc(), table.c.call_id.desc())
            .limit(limit)
        )
        found = [CallRow.of(_record(row)) for row in connection.execute(query)]
        new = [row for row in reversed(found) if row.call_id not in self._seen]
        self._seen = {name: at for name, at in self._seen.items() if at >= now - 2 * self.LATE}
        self._seen |= {row.call_id: now for row in found}
        return new


def _ended(connection: sa.Connection) -> sa.ColumnElement[Any]:
    if connection.dialect.name == "postgresql":
        text = "calls.started_at + coalesce(calls.duration_us, 0) * interval '1 microsecond'"
    else:
        text = "calls.started_at + coalesce(calls.duration_us, 0)"
    return sa.literal_column(f"({text})", table.c.started_at.type)


def failures() -> list[sa.ColumnElement[bool]]:
    """The conditions that leave only calls that count as errors."""
    # Two conditions, so that the partial index on outcome <> 'ok' is seen to fit.
    return [table.c.outcome != sa.literal_column(f"'{name}'") for name in NO_FAULT]


def _beyond(cursor: Cursor, *, later: bool) -> list[sa.ColumnElement[bool]]:
    at, name = table.c.started_at, table.c.call_id
    if later:
        return [at >= cursor.started_at, (at > cursor.started_at) | (name > cursor.call_id)]
    return [at <= cursor.started_at, (at < cursor.started_at) | (name < cursor.call_id)]


def _record(row: Sequence[Any]) -> CallRecord:
    values = tuple(row)
    return CallRecord(
        Call(*values[:_READING]),
        Reading(*values[_READING:_COST]),
        Cost(**dict(zip(COST_FIELDS, values[_COST:_END], strict=True))),
    )
