"""Months of `calls` on PostgreSQL: made ahead, dropped when too old. On SQLite old rows are deleted in small steps.

Dropping a month takes milliseconds and gives its disk back; deleting its rows one by one gives nothing back (333,000
of them: 0 MB). So PostgreSQL keeps up to a month more than it was asked to keep.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from store.engine import TABLES_LOCK
from store.schema import EPOCH, MICROSECOND, calls, gaps, marks, moment

AHEAD = 3
"""Months made ahead."""
STEP = 5_000
"""Rows deleted per transaction on SQLite: about 0.1 s, so that the writer beside it waits no longer."""


def ensure(connection: sa.Connection, now: int) -> list[str]:
    """Creates the partitions of `now` and the months ahead that are missing; their names. Nothing on SQLite."""
    if connection.dialect.name != "postgresql":
        return []
    starts = [_month(moment(now), ahead) for ahead in range(AHEAD + 1)]
    if not [start for start in starts if _name(start) not in _existing(connection)]:
        return []
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(TABLES_LOCK)))
    existing = _existing(connection)
    missing = [start for start in starts if _name(start) not in existing]
    for start in missing:
        _create(connection, start)
    return [_name(start) for start in missing]


def _create(connection: sa.Connection, start: datetime) -> None:
    """Makes one month, and moves into it what had to wait for it in `calls_default` (a clock that ran ahead)."""
    name, first, last = _name(start), start.isoformat(), _month(start, 1).isoformat()
    for statement in (
        f"CREATE TABLE {name} (LIKE calls INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
        f"WITH moved AS (DELETE FROM calls_default WHERE started_at >= '{first}' AND started_at < '{last}' RETURNING *)"
        f" INSERT INTO {name} SELECT * FROM moved",
        f"ALTER TABLE calls ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{last}')",
    ):
        connection.exec_driver_sql(statement)


def prune(engine: sa.Engine, before: int) -> int:
    """Deletes calls that started before `before`; sums stay. The number of calls deleted."""
    if engine.dialect.name == "postgresql":
        return _prune_postgresql(engine, before)
    return _prune_sqlite(engine, before)


def _prune_postgresql(engine: sa.Engine, before: int) -> int:
    limit = _month(moment(before), 0)
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(TABLES_LOCK)))
        old = [name for name in _existing(connection) if name < _name(limit)]
        edge = (limit - EPOCH) // MICROSECOND
        count = _set_aside(connection, edge)
        for name in sorted(old):
            connection.exec_driver_sql(f"DROP TABLE {name}")
        connection.execute(calls.delete().where(calls.c.started_at < edge))
        return count


def _prune_sqlite(engine: sa.Engine, before: int) -> int:
    with engine.begin() as connection:
        _set_aside(connection, before)
    rowid: sa.ColumnClause[int] = sa.literal_column("rowid")
    old = sa.select(rowid).select_from(calls).where(calls.c.started_at < before).limit(STEP)
    count = 0
    while True:
        with engine.begin() as connection:
            deleted = connection.execute(sa.delete(calls).where(rowid.in_(old))).rowcount
        count += deleted
        if deleted < STEP:
            break
    raw = engine.raw_connection()
    try:
        # The driver's own cursor: SQLite frees a page per step, and SQLAlchemy does not step what returns no columns.
        raw.cursor().execute("PRAGMA incremental_vacuum").fetchall()
    finally:
        raw.close()
    return count


def _set_aside(connection: sa.Connection, edge: int) -> int:
    """Before rows go: notes from when on rows are kept, and per boot which numbers go, so that they are no losses."""
    now = sa.literal((datetime.now(UTC) - EPOCH) // MICROSECOND, type_=marks.c.at.type)
    going = (
        sa.select(calls.c.boot_id, sa.func.min(calls.c.seq), sa.func.max(calls.c.seq), sa.func.count())
        .where(calls.c.started_at < edge)
        .group_by(calls.c.boot_id)
    )
    found = connection.execute(going).all()
    for boot_id, first, last, _count in found:
        values = {"boot_id": boot_id, "seq_from": first, "seq_to": last, "reason": "pruned", "noted_at": now}
        there = sa.exists().where(gaps.c.boot_id == boot_id, gaps.c.seq_from == first, gaps.c.seq_to == last)
        if not connection.scalar(sa.select(there)):
            connection.execute(gaps.insert().values(values))
    kept_from = connection.scalar(sa.select(marks.c.at).where(marks.c.name == "kept_from"))
    if kept_from is None:
        connection.execute(marks.insert().values(name="kept_from", at=edge))
    elif edge > kept_from:
        connection.execute(marks.update().where(marks.c.name == "kept_from").values(at=edge))
    return sum(row[3] for row in found)


def _existing(connection: sa.Connection) -> set[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'calls'::regclass"
    return {name for name in connection.scalars(sa.text(query)) if name.startswith("calls_p")}


def _month(at: datetime, ahead: int) -> datetime:
    months = at.year * 12 + at.month - 1 + ahead
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def _name(start: datetime) -> str:
    return f"calls_p{start.year:04d}{start.month:02d}"
