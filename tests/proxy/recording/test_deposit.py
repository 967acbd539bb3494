"""The writing side: it tries for ever, keeps what it cannot write, sets refused rows aside, and says so."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import orjson
import pytest

from proxy.recording import deposit
from proxy.recording.deposit import DeadLetters, open_ledger
from store.engine import LedgerUnavailable
from store.ledger import Committed
from tests.proxy.recording.rig import Rig
from tests.proxy.recording.samples import Traffic, make_reading, make_record


def test_waits_grow_and_are_jittered_and_never_end(rig: Rig) -> None:
    rig.store.away = True
    rig.start()
    waits = [rig.deposit.turn(0) for _ in range(200)]
    assert all(0.05 <= wait <= 10.0 for wait in waits)
    assert max(waits[:2]) < 0.5 < min(waits[20:])
    assert max(waits[-50:]) > 8.0
    assert len(set(waits)) > 150
    rig.store.away = False
    assert rig.deposit.turn(0) == 0.0
    assert rig.deposit.up
    assert rig.deposit.attempts == 0


def test_an_unforeseen_fault_is_survived_like_an_outage(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = Traffic(rig.journals)
    traffic.carry(10)
    rig.intake.turn()

    def broken(*_: object, **__: object) -> Committed:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(rig.store, "insert", broken)
        assert rig.deposit.turn(0) > 0
        assert not rig.deposit.up
    rig.drain()
    assert rig.sql("SELECT count(*) FROM calls") == [(10,)]
    rig.assert_balanced()
    traffic.die()


def test_a_locked_database_only_delays(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.engine.BUSY_TIMEOUT", 0.05)
    rig.store.dispose()
    rig.store = type(rig.store)(f"sqlite:///{rig.database}")
    rig.start()
    traffic = Traffic(rig.journals)
    traffic.carry(10)
    holder = sqlite3.connect(rig.database, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    rig.turn()
    assert not rig.deposit.up
    assert rig.total("weir_calls_total") == 10, "metrics go on"
    holder.execute("ROLLBACK")
    holder.close()
    rig.drain()
    assert rig.sql("SELECT count(*) FROM calls") == [(10,)]
    traffic.die()


def test_a_refused_record_is_set_aside_counted_and_noted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that the database refuses: here by a trigger, as cleaned values fit everywhere."""
    rig.sql(
        "CREATE TRIGGER poison BEFORE INSERT ON calls WHEN NEW.error_type = 'poison' "
        "BEGIN SELECT RAISE(ABORT, 'poison'); END"
    )
    traffic = Traffic(rig.journals)
    traffic.carry(20)
    traffic.end(traffic.begin(), make_reading(error_type="poison"))
    traffic.carry(20)
    rig.drain()
    assert rig.sql("SELECT count(*) FROM calls") == [(40,)]
    assert rig.total("weir_records_dropped_total", reason="refused") == 1
    assert rig.sql("SELECT seq_from, seq_to FROM gaps") == [(21, 21)]
    rig.assert_balanced()
    lines = (rig.folder / "dead-letter.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["seq"] for line in lines] == [21]
    assert (rig.folder / "dead-letter.jsonl").stat().st_mode & 0o777 == 0o600
    traffic.die()


def test_dead_letters_are_bounded_and_never_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deposit, "MAX_DEAD_BYTES", 2000)
    letters = DeadLetters(tmp_path / "dead-letter.jsonl")
    for _ in range(20):
        letters.add(make_record(), "refused:test")
    assert 2000 <= (tmp_path / "dead-letter.jsonl").stat().st_size < 5000
    DeadLetters(tmp_path / "nowhere" / "x").add(make_record(), "refused:test")
    assert "dead_letter_not_written" in caplog.text


def test_a_database_that_was_replaced_by_an_empty_one_is_set_up_again(rig: Rig) -> None:
    rig.deposit._open = lambda: open_ledger(f"sqlite:///{rig.database}")
    rig.deposit.close()
    traffic = Traffic(rig.journals)
    traffic.carry(3)
    rig.drain()
    for kind, name in rig.sql(
        "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'table') ORDER BY type DESC"
    ):
        if not name.startswith("sqlite_"):
            rig.sql(f"DROP {kind} {name}")
    traffic.carry(4)
    rig.turn()
    assert not rig.deposit.up
    for _ in range(deposit.REOPEN):
        rig.deposit.turn(0)
    rig.drain()
    assert rig.sql("SELECT count(*) FROM calls") == [(4,)]
    rig.deposit.close()
    traffic.die()


def test_failing_upkeep_holds_up_no_record(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_before: int) -> int:
        raise LedgerUnavailable("locked")

    monkeypatch.setattr(rig.store, "prune", refused)
    rig.start()
    traffic = Traffic(rig.journals)
    traffic.carry(5)
    rig.drain()
    assert rig.deposit.up
    assert rig.sql("SELECT count(*) FROM calls") == [(5,)]
    traffic.die()


def test_an_idle_store_is_asked_whether_it_is_there(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.drain()
    rig.store.away = True
    rig.deposit.turn(0)
    assert rig.deposit.up, "not asked yet"
    monkeypatch.setattr(deposit, "IDLE_PING", 0.0)
    rig.deposit.turn(0)
    assert not rig.deposit.up


def test_the_log_holds_no_address_and_no_password(caplog: pytest.LogCaptureFixture, rig: Rig) -> None:
    def opened() -> object:
        return open_ledger("postgresql+psycopg://user:hunter2@127.0.0.1:1/weir?connect_timeout=1")

    rig.deposit._open = opened  # type: ignore[assignment]
    rig.deposit._close()
    assert rig.deposit.turn(0) > 0
    assert "store_away" in caplog.text
    assert "hunter2" not in caplog.text
    assert "127.0.0.1" not in caplog.text


def test_a_fresh_database_is_migrated(tmp_path: Path) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path / 'new' / 'weir.db'}")
    assert ledger.positions() == {}
    ledger.dispose()
