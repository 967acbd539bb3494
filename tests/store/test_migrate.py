"""Migrations on both databases: what they make is what the code expects, and old data comes along."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from store import migrate
from store.engine import open_engine, read_only
from store.ledger import Ledger
from store.query import call
from tests.store.conftest import START, Make

ROOT = Path(__file__).resolve().parents[2]


def run(url: str, revision: str, *, down: bool = False) -> None:
    """Goes to one revision, as a developer with Alembic would."""
    engine = open_engine(url, statement_timeout=None)
    with engine.begin() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)
    engine.dispose()


def test_an_upgraded_database_has_the_tables_that_the_code_expects(empty_url: str) -> None:
    before = migrate.check(empty_url)
    assert (before.revision, before.current, before.pending) == (None, False, ("0001", "0002"))
    after = migrate.upgrade(empty_url)
    assert after.current
    assert after == migrate.check(empty_url)
    assert migrate.differences(empty_url) == []


def test_partitions_are_no_difference(postgres_url: str) -> None:
    migrate.upgrade(postgres_url)
    ledger = Ledger(postgres_url)
    assert ledger.ensure_partitions(START)
    ledger.dispose()
    assert migrate.differences(postgres_url) == []


def test_upgrading_again_changes_nothing(store_url: str, make: Make) -> None:
    ledger = Ledger(store_url)
    record = make()
    ledger.insert([record])
    ledger.dispose()
    assert migrate.upgrade(store_url).current
    with read_only(store_url) as connection:
        assert call(connection, record.call.call_id) == record


def test_old_data_survives_an_upgrade(empty_url: str, make: Make) -> None:
    run(empty_url, "0001")
    ledger = Ledger(empty_url)
    record = make(project="kept", tags={"a": "b"})
    ledger.insert([record])
    ledger.dispose()
    assert migrate.check(empty_url).pending == ("0002",)
    migrate.upgrade(empty_url)
    with read_only(empty_url) as connection:
        assert call(connection, record.call.call_id) == record
        assert connection.exec_driver_sql("SELECT project FROM call_log").scalars().all() == ["kept"]


def test_every_step_can_be_taken_back(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    run(empty_url, "base", down=True)
    engine = open_engine(empty_url)
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        assert inspector.get_table_names() == ["alembic_version"]
        assert inspector.get_view_names() == []
    engine.dispose()
    assert migrate.upgrade(empty_url).current


def test_processes_that_upgrade_at_once_wait_for_each_other(empty_url: str) -> None:
    errors: list[BaseException] = []

    def upgrade() -> None:
        try:
            assert migrate.upgrade(empty_url).current
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert migrate.differences(empty_url) == []


def test_an_upgrade_that_fails_leaves_nothing_behind(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = sa.Connection.execute

    def fail(self: sa.Connection, statement: object, *rest: object, **more: object) -> object:
        if "CREATE VIEW model_latency" in str(statement):
            raise KeyboardInterrupt
        return original(self, statement, *rest, **more)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(sa.Connection, "execute", fail)
        with pytest.raises(KeyboardInterrupt):
            migrate.upgrade(empty_url)
    assert migrate.check(empty_url).revision is None
    assert migrate.upgrade(empty_url).current


def test_the_folder_of_a_sqlite_file_is_made_and_is_private(tmp_path: Path) -> None:
    migrate.upgrade(f"sqlite:///{tmp_path}/a/b/weir.db")
    assert (tmp_path / "a/b/weir.db").is_file()
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700


def test_checking_makes_no_file(tmp_path: Path) -> None:
    assert migrate.check(f"sqlite:///{tmp_path}/weir.db").pending
    assert list(tmp_path.iterdir()) == []


def test_the_steps_are_found_where_the_packages_are_installed(tmp_path: Path) -> None:
    """As in a wheel: the packages side by side, away from the checkout and its alembic.ini."""
    for package in ("store", "migrations"):
        shutil.copytree(ROOT / package, tmp_path / "site" / package)
    script = (
        f"from store import migrate; print(migrate.scripts(), migrate.upgrade('sqlite:///{tmp_path}/weir.db').current)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert done.stdout.split() == [str(tmp_path / "site" / "migrations"), "True"]


def test_developers_reach_the_same_steps_through_alembic_ini(tmp_path: Path) -> None:
    environment = {**os.environ, "WEIR_STORE__URL": f"sqlite:///{tmp_path}/weir.db"}
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert migrate.check(f"sqlite:///{tmp_path}/weir.db").current
