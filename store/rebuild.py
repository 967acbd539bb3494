"""Makes the sums again from the rows: the repair for what `verify` finds, hour by hour so that writers wait little.

Only where the rows are complete: hours and sessions that pruning has touched keep the sums that they have.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from store import rollups
from store.query.filters import hour_of
from store.query.usage import kept_from
from store.schema import HOUR_US, calls, latency_hourly, sessions, usage_hourly


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What was made again."""

    hours: int
    sessions: int


def rebuild_rollups(engine: sa.Engine, since: int | None = None) -> Rebuilt:
    """Recomputes the hours from `since` on, and the sessions with calls in them. Safe beside writers."""
    with engine.begin() as connection:
        kept = kept_from(connection)
        floor = max(since or 0, -(-(kept or 0) // HOUR_US) * HOUR_US)
        floor -= floor % HOUR_US
        hours = [hour for hour in _hours(connection) if hour >= floor]
    for hour in hours:
        with engine.begin() as connection:
            _rebuild_hour(connection, hour)
    with engine.begin() as connection:
        return Rebuilt(hours=len(hours), sessions=_rebuild_sessions(connection, floor, kept))


def _hours(connection: sa.Connection) -> list[int]:
    """The hours of which rows or sums speak."""
    queries = (
        sa.select(hour_of(connection)).select_from(calls),
        sa.select(usage_hourly.c.hour),
        sa.select(latency_hourly.c.hour),
    )
    return sorted({hour for query in queries for hour in connection.scalars(query.distinct())})


def _lock(connection: sa.Connection) -> None:
    """Keeps writers from adding to the sums until this transaction ends, in the order in which they lock them.

    A writer that waits here has its rows not committed yet: they are not read, and it adds them afterwards.
    """
    if connection.dialect.name == "postgresql":
        for table in (sessions, usage_hourly, latency_hourly):
            connection.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE")


def _rebuild_hour(connection: sa.Connection, hour: int) -> None:
    _lock(connection)
    for table in (usage_hourly, latency_hourly):
        connection.execute(table.delete().where(table.c.hour == hour))
    query = sa.select(*(calls.c[name] for name in rollups.FOLDED)).where(
        calls.c.started_at >= hour, calls.c.started_at < hour + HOUR_US
    )
    found = rollups.fold(tuple(row) for row in connection.execute(query))
    rollups.add(connection, rollups.Rollups(sessions=[], usage=found.usage, latency=found.latency))


def _rebuild_sessions(connection: sa.Connection, floor: int, kept: int | None) -> int:
    _lock(connection)
    key = (calls.c.session_id, calls.c.project)
    named = calls.c.session_source != "none"
    touched = sa.select(*key).where(calls.c.started_at >= floor, named)
    clipped = sa.select(sessions.c.session_id, sessions.c.project).where(sessions.c.first_call_at < (kept or 0))
    stale = (
        sa.tuple_(sessions.c.session_id, sessions.c.project).not_in(clipped),
        (sessions.c.last_call_at >= floor) | sa.tuple_(sessions.c.session_id, sessions.c.project).in_(touched),
    )
    connection.execute(sessions.delete().where(*stale))
    left = sa.select(sessions.c.session_id, sessions.c.project)
    again = (
        sa.select(*key, sa.func.min(calls.c.started_at), sa.func.max(calls.c.started_at), *rollups.call_sums())
        .where(named, sa.tuple_(*key).in_(touched), sa.tuple_(*key).not_in(left))
        .group_by(*key)
    )
    insert = sessions.insert().from_select([column.name for column in sessions.c], again)
    return connection.execute(insert, execution_options={"preserve_rowcount": True}).rowcount
