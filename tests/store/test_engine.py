"""Opening databases: addresses, durability, and connections on which nothing can be written."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from store import migrate
from store.engine import LedgerUnavailable, database_url, open_engine, read_only, sqlite_path
from store.ledger import Ledger
from tests.store.conftest import Make


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_name_of_postgresql_means_the_driver_that_is_installed(scheme: str) -> None:
    address = database_url(f"{scheme}://weir:secret@db/weir?sslmode=require")
    assert address.drivername == "postgresql+psycopg"
    assert address.query == {"sslmode": "require"}


def test_other_databases_are_refused() -> None:
    with pytest.raises(ValueError, match="mysql"):
        database_url("mysql://db/weir")


@pytest.mark.parametrize("nonsense", ["weir.db", "", "secret@@", "sqlite"])
def test_what_is_no_address_is_refused_without_quoting_it(nonsense: str) -> None:
    with pytest.raises(ValueError, match="such as sqlite:///weir") as caught:
        database_url(nonsense)
    assert "secret" not in str(caught.value)


def test_a_file_with_an_unusual_name_can_be_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a b%20c ü/weir #1.db"
    migrate.upgrade(url)
    with read_only(url) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM calls").scalar() == 0


def test_the_file_of_an_address() -> None:
    assert sqlite_path("sqlite:///weir-data/weir.db") == Path("weir-data/weir.db")
    assert sqlite_path("sqlite:////var/lib/weir.db") == Path("/var/lib/weir.db")
    assert sqlite_path("sqlite://") is None
    assert sqlite_path("postgresql://db/weir") is None


def test_sqlite_commits_reach_the_disk_and_freed_pages_can_be_given_back(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/weir.db")
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "auto_vacuum", "busy_timeout")
        }
    engine.dispose()
    assert found == {"journal_mode": "wal", "synchronous": 2, "auto_vacuum": 2, "busy_timeout": 5000}


def test_statements_have_a_deadline_on_postgresql(postgres_url: str) -> None:
    engine = open_engine(postgres_url, statement_timeout=0.05)
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError, match="statement timeout"):
        connection.exec_driver_sql("SELECT pg_sleep(5)")
    engine.dispose()


@pytest.mark.parametrize("statement", ["DELETE FROM calls", "CREATE TABLE x (y INTEGER)", "DROP VIEW call_log"])
def test_a_read_only_connection_answers_and_never_writes(
    store_url: str, ledger: Ledger, make: Make, statement: str
) -> None:
    ledger.insert([make()])
    with read_only(store_url) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM call_log").scalar() == 1
        with pytest.raises(sa.exc.DBAPIError, match=r"read-?only"):
            connection.exec_driver_sql(statement)


def test_a_commit_typed_in_does_not_end_read_only(postgres_url: str) -> None:
    with read_only(postgres_url) as connection, pytest.raises(sa.exc.DBAPIError, match="read-only"):
        connection.exec_driver_sql("COMMIT; CREATE TABLE x (y INTEGER)")


def test_reading_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="no database file"), read_only(f"sqlite:///{tmp_path}/none.db"):
        pass
    assert list(tmp_path.iterdir()) == []
