"""Opening the database: one place for URLs, pragmas, timeouts and transactions. No tables, no statements.

Durability is the point: the journal is deleted once a batch is committed, so a commit must be on the disk. SQLite
runs with `synchronous=FULL` (with NORMAL a power cut takes committed rows back); PostgreSQL keeps its own default.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

BUSY_TIMEOUT = 5.0
CONNECT_TIMEOUT = 5
TABLES_LOCK = 0x5745_4952
"""Key of the PostgreSQL advisory lock under which weir's processes change tables ("WEIR")."""


class LedgerUnavailable(Exception):
    """The database cannot take or answer this now; the same thing may be asked again later. The cause is chained."""


def open_engine(url: str, *, statement_timeout: float | None = 5.0, pool_size: int = 2) -> sa.Engine:
    """An engine for writing: SQLite transactions take the write lock at once, so that none fails half-way.

    Raises ValueError for what is no address of a store. `reader_of` gives the same connections for reading.
    """
    address = database_url(url)
    if address.get_backend_name() == "sqlite":
        return _open_sqlite(address, pool_size)
    return _open_postgresql(address, statement_timeout, pool_size)


def reader_of(engine: sa.Engine) -> sa.Engine:
    """`engine` for transactions that only read: on SQLite they wait for no writer."""
    return engine.execution_options(reading=True)


def database_url(url: str) -> sa.URL:
    """`url` with the driver that is installed: `postgresql://` and `postgres://` mean psycopg 3.

    Raises ValueError for what is no address of a store; it never quotes `url`, which may hold a password.
    """
    scheme, colon, rest = url.partition("://")
    names = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
    try:
        address = sa.make_url(names.get(scheme, scheme) + colon + rest)
    except sa.exc.ArgumentError:
        raise ValueError("the store needs an address such as sqlite:///weir.db or postgresql://host/weir") from None
    if address.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(f"the store is SQLite or PostgreSQL, not {address.get_backend_name()}")
    return address


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite URL; None for PostgreSQL and for a database in memory."""
    address = database_url(url)
    name = address.database
    if address.get_backend_name() != "sqlite" or not name or name == ":memory:":
        return None
    return Path(name)


@contextmanager
def read_only(url: str, *, statement_timeout: float | None = 60.0) -> Iterator[sa.Connection]:
    """A connection on which the database itself refuses every write."""
    address = database_url(url)
    sqlite = address.get_backend_name() == "sqlite"
    engine = _open_sqlite_reader(url) if sqlite else _open_postgresql(address, statement_timeout, 1)
    try:
        with engine.connect() as connection, connection.begin():
            if not sqlite:
                # The second for what comes after a COMMIT that was typed in with the question.
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
                connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            yield connection
    finally:
        engine.dispose()


def _open_sqlite(address: sa.URL, pool_size: int) -> sa.Engine:
    in_memory = not address.database or address.database == ":memory:"
    options: dict[str, Any] = {"poolclass": sa.StaticPool} if in_memory else {"pool_size": pool_size}
    # `timeout` becomes busy_timeout before the first statement, which matters when two processes set WAL at once.
    arguments = {"timeout": BUSY_TIMEOUT, "check_same_thread": False}
    engine = sa.create_engine(address, connect_args=arguments, **options)
    sa.event.listen(engine, "connect", _set_up_sqlite)
    sa.event.listen(engine, "begin", _begin_immediate)
    return engine


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    # auto_vacuum counts only before the first table, and WAL writes the first page: the order matters. Setting it in
    # a database that has tables does nothing but wait for the write lock.
    fresh = connection.execute("PRAGMA page_count").fetchone() == (0,)
    pragmas = ("journal_mode=WAL", "synchronous=FULL")
    for pragma in ("auto_vacuum=INCREMENTAL", *pragmas) if fresh else pragmas:
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _begin_immediate(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _open_sqlite_reader(url: str) -> sa.Engine:
    path = sqlite_path(url)
    if path is None or not path.exists():
        raise LedgerUnavailable(f"there is no database file {path}")
    address = sa.URL.create("sqlite", database=f"{path.resolve().as_uri()}", query={"mode": "ro", "uri": "true"})
    engine = sa.create_engine(address, connect_args={"timeout": BUSY_TIMEOUT}, poolclass=sa.NullPool)
    sa.event.listen(engine, "connect", _forbid_writing)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _forbid_writing(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _open_postgresql(address: sa.URL, statement_timeout: float | None, pool_size: int) -> sa.Engine:
    # No server-side prepared statements: a pooler in transaction mode (pgbouncer) loses them.
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT, "prepare_threshold": None}
    arguments |= {name: address.query[name] for name in ("connect_timeout",) if name in address.query}
    engine = sa.create_engine(address, connect_args=arguments, pool_size=pool_size, max_overflow=2, pool_pre_ping=False)
    milliseconds = int((statement_timeout or 0) * 1000)

    def set_up(connection: Any, _record: Any) -> None:
        # SET, not the `options` start parameter, which poolers refuse.
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = {milliseconds}")
            cursor.execute("SET TIME ZONE 'UTC'")
        connection.commit()

    sa.event.listen(engine, "connect", set_up)
    return engine
