"""Writes the ledger: batches of records in, each row exactly once, with its sums, in one transaction.

Inserting a batch again changes nothing: rows that are already there are left alone and only rows that were really
inserted are added to the sums. A row that the database refuses is found by halving, set aside and noted as a gap.
Faults of the moment raise `LedgerUnavailable` and leave no trace; the caller tries the same batch again.

Not in here: what the tables look like (`schema`), how values are made fit (`clean`), questions (`query`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from store import partitions, rollups
from store.bulk import Insert
from store.clean import INT64, LIMIT, Row, clean_text, rows_of
from store.engine import LedgerUnavailable, open_engine, reader_of
from store.faults import is_row_fault, reason_of
from store.journal import Gap, Position
from store.record import COLUMNS, CallRecord
from store.schema import calls, gaps, journal_positions

_CALLS = Insert(calls, "DO NOTHING", "RETURNING call_id::text")
_GAPS = Insert(gaps, "DO NOTHING")
_POSITIONS = Insert(
    journal_positions,
    '(boot_id) DO UPDATE SET segment = excluded.segment, "offset" = excluded."offset", '
    "updated_at = excluded.updated_at",
)
_CALL_ID, _BOOT_ID, _SEQ, _STARTED_AT, _SESSION_ID = (
    COLUMNS.index(name) for name in ("call_id", "boot_id", "seq", "started_at", "session_id")
)

_UNFIT = "refused:unfit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What became of a batch."""

    inserted: list[CallRecord]
    duplicates: list[CallRecord]
    """Already in the ledger, from an earlier attempt or twice in the batch."""
    refused: list[tuple[CallRecord, str]]
    """No row, with the reason; each is noted in `gaps`."""


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Places in the batch, by what became of them."""

    inserted: list[int]
    refused: list[tuple[int, str]]


class Ledger:
    """The writing side of the store. Safe to use from several threads; opening it does not connect."""

    def __init__(self, url: str, *, statement_timeout: float | None = 5.0) -> None:
        self.url = url
        self._engine = open_engine(url, statement_timeout=statement_timeout)
        self._reader = reader_of(self._engine)

    @property
    def engine(self) -> sa.Engine:
        """For questions asked beside the writing; transactions on it are writing ones."""
        return self._engine

    def insert(
        self,
        records: Sequence[CallRecord],
        *,
        positions: Mapping[str, Position] | None = None,
        lost: Sequence[tuple[str, Gap]] = (),
    ) -> Committed:
        """Commits `records`, gaps (boot_id, gap) and journal positions together; raises LedgerUnavailable."""
        rows = rows_of(records)
        lost = [*lost, *(gap for row, record in zip(rows, records, strict=True) if not row for gap in _unfit(record))]
        with _retryable(self._engine):
            try:
                found = self._commit(rows, positions or {}, lost, careful=False)
            except Exception as error:
                if not is_row_fault(error):
                    raise
                found = self._commit(rows, positions or {}, lost, careful=True)
        return _committed(records, found)

    def positions(self) -> dict[str, Position]:
        """Up to where each boot's journal is in the ledger."""
        table = journal_positions.c
        with _retryable(self._engine), self._reader.connect() as connection:
            found = connection.execute(sa.select(table.boot_id, table.segment, table.offset))
            return {boot_id: Position(segment, offset) for boot_id, segment, offset in found}

    def close_boot(self, boot_id: str) -> None:
        """Forgets a boot whose journal is read to the end and deleted: from now on a hole in its seq is a loss."""
        with _retryable(self._engine), self._engine.begin() as connection:
            connection.execute(journal_positions.delete().where(journal_positions.c.boot_id == boot_id))

    def ensure_partitions(self, now: int) -> list[str]:
        """Makes this month's partition and three more, where PostgreSQL lacks them; the names of the new ones."""
        with _retryable(self._engine), self._engine.begin() as connection:
            return partitions.ensure(connection, now)

    def prune(self, before: int) -> int:
        """Deletes calls older than `before` (on PostgreSQL: whole months); their sums stay. The number of calls."""
        with _retryable(self._engine):
            return partitions.prune(self._engine, before)

    def size(self) -> int:
        """Bytes that the database takes."""
        with _retryable(self._engine), self._reader.connect() as connection:
            if connection.dialect.name == "postgresql":
                return int(connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0)
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            return int(pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one())

    def ping(self) -> None:
        """Raises LedgerUnavailable unless the database answers and has its tables."""
        with _retryable(self._engine), self._reader.connect() as connection:
            connection.execute(sa.select(journal_positions.c.boot_id).limit(1)).all()

    def dispose(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def _commit(
        self,
        rows: Sequence[Row],
        positions: Mapping[str, Position],
        lost: Sequence[tuple[str, Gap]],
        *,
        careful: bool,
    ) -> _Sorted:
        now = time.time_ns() // 1000
        places = [at for at, row in enumerate(rows) if row]
        unfit = [(at, _UNFIT) for at, row in enumerate(rows) if not row]
        with self._engine.begin() as connection:
            refused: list[tuple[int, str]] = []
            if careful:
                inserted = _store_carefully(connection, rows, places, refused)
            else:
                inserted = _store(connection, rows, places)
            rollups.add(connection, rollups.fold(rollups.pick(rows[at]) for at in inserted))
            missing = [_missing(rows[at], reason) for at, reason in refused]
            _GAPS.run(connection, sorted({(boot, *gap, now) for boot, gap in (*lost, *missing)}))
            _POSITIONS.run(connection, [(boot, *place, now) for boot, place in sorted(positions.items())])
        return _Sorted(inserted, unfit + refused)


def _store(connection: sa.Connection, rows: Sequence[Row], places: list[int]) -> list[int]:
    """Inserts the rows at `places`; the places that were not in the ledger before."""
    given = [rows[at] for at in places]
    if not given:
        return []
    if connection.dialect.name == "postgresql":
        # One of several equal rows in a batch is inserted: the first place takes it.
        new = set(_CALLS.fetch(connection, given))
        return places if len(new) == len(places) else _first(rows, places, new)
    with connection.begin_nested() as attempt:
        if _CALLS.run(connection, given) == len(given):
            return places
        attempt.rollback()
    # Some were there. SQLite does not say which; under the write lock nobody adds more while we look.
    known = _known(connection, [row[_CALL_ID] for row in given])
    new = {row[_CALL_ID] for row in given if _key(row) not in known}
    fresh = _first(rows, places, new)
    _CALLS.run(connection, [rows[at] for at in fresh])
    return fresh


def _first(rows: Sequence[Row], places: list[int], new: set[str]) -> list[int]:
    found = []
    for at in places:
        call_id = rows[at][_CALL_ID]
        if call_id in new:
            new.remove(call_id)
            found.append(at)
    return found


def _key(row: Row) -> tuple[str, int, str]:
    return row[_SESSION_ID], row[_STARTED_AT], row[_CALL_ID]


def _known(connection: sa.Connection, call_ids: list[str]) -> set[tuple[str, int, str]]:
    column = calls.c
    found: set[tuple[str, int, str]] = set()
    for start in range(0, len(call_ids), 500):
        chunk = call_ids[start : start + 500]
        query = sa.select(column.session_id, column.started_at, column.call_id).where(column.call_id.in_(chunk))
        found.update((session, at, call_id) for session, at, call_id in connection.execute(query))
    return found


def _store_carefully(
    connection: sa.Connection, rows: Sequence[Row], places: list[int], refused: list[tuple[int, str]]
) -> list[int]:
    """As `_store`, halving where the database refuses, until each bad row stands alone in `refused`."""
    savepoint = connection.begin_nested()
    try:
        stored = _store(connection, rows, places)
    except Exception as error:
        savepoint.rollback()
        if not is_row_fault(error):
            raise
        if len(places) == 1:
            refused.append((places[0], f"refused:{reason_of(error)}"))
            return []
    else:
        savepoint.commit()
        return stored
    middle = len(places) // 2
    first = _store_carefully(connection, rows, places[:middle], refused)
    return first + _store_carefully(connection, rows, places[middle:], refused)


def _missing(row: Row, reason: str) -> tuple[str, Gap]:
    return row[_BOOT_ID], Gap(row[_SEQ], row[_SEQ], reason)


def _unfit(record: CallRecord) -> list[tuple[str, Gap]]:
    """The gap that a record leaves which cannot be a row; none when it does not even say which number it is."""
    boot_id, seq = record.call.boot_id, record.call.seq
    if not isinstance(boot_id, str) or not isinstance(seq, int) or not 0 < seq <= INT64:
        return []
    return [(clean_text(boot_id, LIMIT), Gap(seq, seq, _UNFIT))]


def _committed(records: Sequence[CallRecord], found: _Sorted) -> Committed:
    gone = {*found.inserted, *(at for at, _ in found.refused)}
    return Committed(
        inserted=list(records) if len(found.inserted) == len(records) else [records[at] for at in found.inserted],
        duplicates=[record for at, record in enumerate(records) if at not in gone],
        refused=[(records[at], reason) for at, reason in found.refused],
    )


@contextmanager
def _retryable(engine: sa.Engine) -> Iterator[None]:
    """Turns what the database or its driver raises into LedgerUnavailable, and drops connections that are lost."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError) as error:
        if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
            engine.dispose()
        raise LedgerUnavailable(reason_of(error)) from error
