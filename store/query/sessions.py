"""Sessions: which there are, what they cost, and one of them call by call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import sqlalchemy as sa

from store.query.calls import calls
from store.query.filters import matching
from store.query.rows import SessionDetail, SessionRow, Span
from store.schema import sessions as table

Order = Literal["cost", "time"]


def sessions(
    connection: sa.Connection,
    span: Span = Span(),
    *,
    order: Order = "cost",
    limit: int = 50,
    where: Mapping[str, str] | None = None,
) -> list[SessionRow]:
    """Sessions with a call in `span` (as far as first and last call tell), dearest or latest first.

    The sums are those of the whole session, also outside of `span`.
    """
    if order not in ("cost", "time"):
        raise ValueError(f"sessions are ordered by cost or time, not {order}")
    columns = table.c
    unknown = [name for name in where or {} if name not in columns]
    if unknown:
        raise ValueError(f"sessions know no {', '.join(unknown)}; known: project, session_id")
    touched = []
    if span.since is not None:
        touched.append(columns.last_call_at >= span.since)
    if span.until is not None:
        touched.append(columns.first_call_at < span.until)
    first = columns.cost_nusd if order == "cost" else columns.last_call_at
    query = sa.select(table).where(*touched, *matching(table, where))
    query = query.order_by(first.desc(), columns.last_call_at.desc(), columns.session_id, columns.project).limit(limit)
    return [_row(row) for row in connection.execute(query).mappings()]


def session(connection: sa.Connection, session_id: str, *, limit: int = 1000) -> SessionDetail | None:
    """One session: sums per project, and its calls, oldest first and at most `limit`. None when nobody knows it."""
    query = sa.select(table).where(table.c.session_id == session_id).order_by(table.c.project)
    summaries = [_row(row) for row in connection.execute(query).mappings()]
    found = calls(connection, where={"session_id": session_id}, limit=limit)
    if not summaries and not found:
        return None
    return SessionDetail(summaries=summaries, calls=found[::-1])


def _row(row: sa.RowMapping) -> SessionRow:
    values: dict[str, Any] = {**row, "project": row["project"] or None}
    return SessionRow(**values)
