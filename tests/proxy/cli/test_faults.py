"""Faults in words: the store named without its password, the database's own reason, and what to do."""

from __future__ import annotations

import pytest

from proxy.cli.faults import Fault, show, show_unexpected, store_faults
from store.engine import LedgerUnavailable, read_only

AWAY = "postgresql+psycopg://weir:s3cret@127.0.0.1:1/weir"


def fault(url: str, error: Exception) -> Fault:
    with pytest.raises(Fault) as caught, store_faults(url):
        raise error
    assert "s3cret" not in caught.value.message + caught.value.hint
    return caught.value


def test_a_store_that_is_away() -> None:
    with pytest.raises(Fault) as caught, store_faults(AWAY), read_only(AWAY):
        pass
    assert caught.value.code == 1
    assert caught.value.message.startswith(
        "the store postgresql+psycopg://weir:***@127.0.0.1:1/weir refused: connection"
    )
    assert "\n" not in caught.value.message


def test_the_cause_is_the_reason() -> None:
    error = LedgerUnavailable("again later")
    error.__cause__ = OSError("the disk is full\nand more")
    found = fault("sqlite:///x.db", error)
    assert found.message == "cannot read the store sqlite:///x.db: the disk is full"
    assert "`weir serve` makes the file" in found.hint


def test_tables_that_are_not_there(tmp_path: object) -> None:
    path = f"{tmp_path}/x.db"
    open(path, "w", encoding="utf-8").close()
    with (
        pytest.raises(Fault) as caught,
        store_faults(f"sqlite:///{path}"),
        read_only(f"sqlite:///{path}") as connection,
    ):
        connection.exec_driver_sql("SELECT * FROM calls")
    assert "no such table: calls" in caught.value.message
    assert "`weir db upgrade`" in caught.value.hint


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), Fault("mine")])
def test_what_is_not_the_stores_fault_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, store_faults(AWAY):
        raise error
    assert caught.value is error


def test_messages_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    show("one\ntwo", "do this")
    show("three")
    assert capsys.readouterr() == ("", "weir: one\nweir: two\nhint: do this\nweir: three\n")


def test_an_unforeseen_fault_shows_its_first_line_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    show_unexpected(KeyError())
    show_unexpected(RuntimeError("one\ntwo"))
    err = capsys.readouterr().err
    assert "KeyError" in err and "RuntimeError: one\n" in err
    assert "two" not in err and "Traceback" not in err


def test_a_traceback_for_those_who_ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WEIR_LOG_LEVEL", "debug")
    show_unexpected(ValueError("x"))
    assert "ValueError: x" in capsys.readouterr().err
