"""What fails: failures of the same kind counted together. One by one they are `calls(failed=True)`."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from store.query.calls import failures
from store.query.filters import matching, within
from store.query.rows import ErrorRow, Span
from store.schema import calls


def errors(
    connection: sa.Connection, span: Span = Span(), *, limit: int = 50, where: Mapping[str, str] | None = None
) -> list[ErrorRow]:
    """Kinds of failure in `span`, the most frequent first."""
    call = calls.c
    names = (call.upstream, call.provider, call.model, call.outcome, call.http_status, call.error_type)
    named = sa.case((call.session_source != "none", call.session_id))
    query = (
        sa.select(
            *names,
            sa.func.count().label("errors"),
            sa.func.count(named.distinct()).label("sessions"),
            sa.func.min(call.started_at).label("first_seen"),
            sa.func.max(call.started_at).label("last_seen"),
        )
        .where(*within(call.started_at, span), *matching(calls, where), *failures())
        .group_by(*names)
        .order_by(sa.desc("errors"), sa.desc("last_seen"), *names)
        .limit(limit)
    )
    return [
        ErrorRow(**{**row, **{name: row[name] or None for name in ("upstream", "provider", "model")}})
        for row in connection.execute(query).mappings()
    ]
