"""`weir db`, on both stores, and what verbs say of a store that is not there or not ready."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from store.engine import open_engine
from store.migrate import check

if TYPE_CHECKING:
    from tests.proxy.cli.conftest import Run

QUESTIONS = ["usage", "sessions", "calls", "errors", "latency", "verify", "top"]


def test_upgrade_then_nothing_to_do(weir: Run, empty_store: str) -> None:
    first = weir("db", "check", "--store", empty_store)
    assert (first.code, first.out.split()[:2]) == (1, ["revision", "none,"])
    assert "`weir db upgrade`" in first.err
    assert weir("db", "upgrade", "--store", empty_store).out.startswith("upgraded an empty database to ")
    assert check(empty_store).current
    assert weir("db", "upgrade", "--store", empty_store).out.startswith("nothing to do: ")
    assert weir("db", "check", "--store", empty_store).code == 0


def test_a_store_of_a_newer_weir(weir: Run, empty_store: str) -> None:
    weir("db", "upgrade", "--store", empty_store)
    engine = open_engine(empty_store)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    for verb in (["db", "check"], ["db", "upgrade"], ["check"]):
        found = weir(*verb, "--store", empty_store)
        assert found.code == 1
        assert "another version" in found.out + found.err


def test_size(weir: Run, store: str) -> None:
    facts = json.loads(weir("db", "size", "--store", store, "--json").out)[0]
    assert facts["bytes"] > 10_000
    assert (facts["calls"], facts["sessions"]) == (7, 2)
    assert "bytes" in weir("db", "size", "--store", store).out


def test_path(weir: Run, tmp_path: Path) -> None:
    assert weir("db", "path").out == "weir-data/weir.db\n"
    assert weir("db", "path", "--store", f"sqlite:///{tmp_path}/x.db").out == f"{tmp_path}/x.db\n"
    out = weir("db", "path", "--store", "postgresql://u:s3cret@h/db").out
    assert out == "postgresql+psycopg://u:***@h/db\n"


@pytest.mark.parametrize("verb", QUESTIONS)
def test_a_file_that_is_not_there(weir: Run, verb: str, tmp_path: Path) -> None:
    found = weir(verb)
    assert (found.code, found.out) == (1, "")
    assert "cannot read the store sqlite:///weir-data/weir.db" in found.err
    assert "`weir serve` makes the file" in found.err
    assert not (tmp_path / "weir-data").exists()


@pytest.mark.parametrize("verb", QUESTIONS)
def test_tables_that_are_not_there(weir: Run, verb: str, empty_store: str) -> None:
    engine = open_engine(empty_store)
    engine.connect().close()  # makes the file
    engine.dispose()
    found = weir(verb, "--store", empty_store)
    assert (found.code, found.out) == (1, "")
    assert "`weir db upgrade`" in found.err


@pytest.mark.parametrize("verb", [*QUESTIONS, "db size", "db check", "db upgrade"])
def test_a_server_that_is_not_there(weir: Run, verb: str) -> None:
    found = weir(*verb.split(), "--store", "postgresql://weir:s3cret@127.0.0.1:1/weir?connect_timeout=2")
    assert (found.code, found.out) == (1, "")
    assert "postgresql+psycopg://weir:***@127.0.0.1:1/weir" in found.err
    assert "s3cret" not in found.err
    assert "is the server up" in found.err


def test_a_file_that_is_no_database(weir: Run, tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is a letter, not a database" * 100)
    for verb in ("usage", "check", "db upgrade"):
        found = weir(*verb.split(), "--store", f"sqlite:///{tmp_path}/x.db")
        assert found.code == 1
        assert "not a database" in found.err + found.out


def test_a_folder_that_cannot_be_made(weir: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    found = weir("db", "upgrade", "--store", f"sqlite:///{tmp_path}/file/weir.db")
    assert found.code == 1
    assert "file" in found.err
