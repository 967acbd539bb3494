"""The promises of `store/__init__.py`, kept on both databases."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings, strategies as st

from store import rollups
from store.engine import LedgerUnavailable
from store.journal import Gap, Position
from store.ledger import Committed, Ledger
from store.query import call, records
from store.record import CallRecord
from store.schema import gaps, latency_hourly, metadata
from store.verify import verify
from tests.plugins.postgres import Cluster
from tests.store.conftest import START, Make, Seed

ROOT = Path(__file__).resolve().parents[2]
TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)


def contents(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that the ledger holds, without the times at which it was noted."""
    with ledger.engine.connect() as connection:
        return {
            table.name: sorted(
                tuple(str(value) for value in row if not isinstance(value, dict))
                for row in connection.execute(
                    sa.select(*(column for column in table.c if column.name not in ("noted_at", "updated_at")))
                )
            )
            for table in metadata.sorted_tables
        }


def counted(done: Committed) -> tuple[int, int, int]:
    return len(done.inserted), len(done.duplicates), len(done.refused)


def poison(ledger: Ledger) -> None:
    """From now on the database refuses calls of the project `poison`."""
    with ledger.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE calls ADD CONSTRAINT healthy CHECK (project <> 'poison')")
            return
        connection.exec_driver_sql(
            "CREATE TRIGGER healthy BEFORE INSERT ON calls WHEN new.project = 'poison' "
            "BEGIN SELECT RAISE(ABORT, 'poison'); END"
        )


def test_a_record_comes_back_as_it_went(ledger: Ledger, make: Make, seed: Seed) -> None:
    full = make(
        session_id="s",
        session_source="header",
        project="p",
        user_id="u",
        tags={"a": "ü"},
        http_status=200,
        stream=True,
        raw_usage={"a": [1, 2.5, None]},
        credits_remaining=0.1,
        input_tokens=2**31,
        cost_nusd=10**12,
        cost_source="provider",
        meter_fault="x\n\ty",
    )
    given = [full, *seed(50)]
    assert ledger.insert(given).inserted == given
    with ledger.engine.connect() as connection:
        assert [call(connection, record.call.call_id) for record in given] == given


def test_an_empty_batch_is_no_fault(ledger: Ledger) -> None:
    assert counted(ledger.insert([])) == (0, 0, 0)


def test_a_batch_may_be_inserted_again_and_changes_nothing_the_second_time(ledger: Ledger, seed: Seed) -> None:
    batch = seed(200)
    assert counted(ledger.insert(batch)) == (200, 0, 0)
    before = contents(ledger)
    again = ledger.insert(batch)
    assert (again.inserted, again.duplicates) == ([], batch)
    assert contents(ledger) == before


def test_of_a_batch_that_is_partly_there_only_the_rest_is_added(ledger: Ledger, seed: Seed) -> None:
    batch = seed(60)
    ledger.insert(batch[10:30])
    done = ledger.insert(batch)
    assert done.inserted == batch[:10] + batch[30:]
    assert done.duplicates == batch[10:30]
    with ledger.engine.connect() as connection:
        assert verify(connection).balanced


def test_a_record_twice_in_one_batch_is_one_row(ledger: Ledger, make: Make) -> None:
    first, second = make(), make()
    done = ledger.insert([first, second, first])
    assert (done.inserted, done.duplicates) == ([first, second], [first])
    with ledger.engine.connect() as connection:
        assert verify(connection).balanced


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6))
def test_any_overlapping_batches_give_the_ledger_of_one(
    ledger: Ledger, seed: Seed, cuts: list[tuple[int, int]]
) -> None:
    boot = os.urandom(16).hex()
    batch = seed(40, boot_id=boot)
    inserted = [record for a, b in [*cuts, (0, 40)] for record in ledger.insert(batch[min(a, b) : max(a, b)]).inserted]
    assert sorted(record.call.seq for record in inserted) == list(range(1, 41))
    with ledger.engine.connect() as connection:
        assert verify(connection).balanced


def test_rows_sums_gaps_and_positions_come_together(ledger: Ledger, seed: Seed) -> None:
    ledger.insert(seed(5), positions={"b1": Position(2, 300)}, lost=[("b1", Gap(7, 9, "ENOSPC"))])
    ledger.insert([], positions={"b1": Position(3, 10), "b2": Position(1, 1)}, lost=[("b1", Gap(7, 9, "ENOSPC"))])
    assert ledger.positions() == {"b1": Position(3, 10), "b2": Position(1, 1)}
    assert contents(ledger)["gaps"] == [("b1", "7", "9", "ENOSPC")]
    ledger.close_boot("b1")
    assert list(ledger.positions()) == ["b2"]


def test_or_not_at_all(ledger: Ledger, seed: Seed, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(ledger)

    def fail(*_: Any) -> None:
        raise sa.exc.OperationalError("x", None, Exception("gone"))

    monkeypatch.setattr(rollups, "add", fail)
    with pytest.raises(LedgerUnavailable) as caught:
        ledger.insert(seed(5), positions={"b1": Position(2, 300)}, lost=[("b1", Gap(7, 9, "x"))])
    assert isinstance(caught.value.__cause__, sa.exc.OperationalError)
    assert contents(ledger) == before


KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from store import rollups
from store.journal import Position
from store.ledger import Ledger
from store.record import Call, CallRecord, Cost, Reading
add = rollups.add
def killed(connection, sums):
    add(connection, sums)
    os.kill(os.getpid(), signal.SIGKILL)
rollups.add = killed
call = Call(call_id="01890a5d-ac96-774b-bcce-b302099a8057", boot_id="b", seq=1, started_at={start},
            method="POST", path="/", session_id="s", session_source="header")
Ledger(sys.argv[1]).insert([CallRecord(call, Reading(outcome="ok"), Cost())], positions={{"b": Position(1, 1)}})
"""


def test_a_writer_killed_before_its_commit_leaves_nothing(ledger: Ledger, store_url: str, seed: Seed) -> None:
    ledger.insert(seed(5))
    before = contents(ledger)
    script = KILLED.format(root=str(ROOT), start=START)
    done = subprocess.run([sys.executable, "-c", script, store_url], check=False, timeout=50)
    assert done.returncode == -signal.SIGKILL
    assert contents(ledger) == before
    assert counted(ledger.insert(seed(5, boot_id="d" * 32))) == (5, 0, 0)


def test_a_bad_row_stops_nobody(ledger: Ledger, seed: Seed, make: Make) -> None:
    poison(ledger)
    batch = seed(30)
    bad = [make(project="poison", boot_id="e" * 32) for _ in range(3)]
    mixed = [bad[0], *batch[:11], bad[1], *batch[11:], bad[2]]
    done = ledger.insert(mixed, positions={"b": Position(1, 1)})
    assert done.inserted == batch
    assert [record for record, _ in done.refused] == bad
    assert {reason for _, reason in done.refused} <= {"refused:23514", "refused:SQLITE_CONSTRAINT_TRIGGER"}
    assert ledger.positions() == {"b": Position(1, 1)}
    with ledger.engine.connect() as connection:
        report = verify(connection)
    assert report.balanced
    assert sum(report.noted.values()) == 3


def test_a_bad_row_among_rows_that_are_there(ledger: Ledger, seed: Seed, make: Make) -> None:
    batch = seed(20)
    ledger.insert(batch[:7])
    poison(ledger)
    bad = make(project="poison", boot_id="e" * 32)
    done = ledger.insert([*batch, bad])
    assert (done.inserted, done.duplicates, [record for record, _ in done.refused]) == (batch[7:], batch[:7], [bad])
    again = ledger.insert([*batch, bad])
    assert (again.inserted, again.duplicates, len(again.refused)) == ([], batch, 1)
    with ledger.engine.connect() as connection:
        assert verify(connection).balanced
        assert connection.scalar(sa.select(sa.func.count()).select_from(gaps)) == 1


def test_a_record_that_cannot_be_a_row_is_refused(ledger: Ledger, make: Make) -> None:
    good, bad = make(), make(call_id="not an id")
    done = ledger.insert([bad, good])
    assert (done.inserted, done.refused) == ([good], [(bad, "refused:unfit")])
    assert contents(ledger)["gaps"] == [("b" * 32, "2", "2", "refused:unfit")]
    nameless = make(boot_id="e" * 32)
    nameless.call.seq = None  # type: ignore[assignment]
    assert ledger.insert([nameless]).refused == [(nameless, "refused:unfit")]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(TEXT, min_size=9, max_size=9),
    document=st.dictionaries(TEXT, TEXT | st.integers() | st.floats(-(2**53), 2**53), max_size=3),
    number=st.integers(-(2**70), 2**70),
)
def test_both_databases_keep_the_same_whatever_the_text(
    both: tuple[Ledger, Ledger], make: Make, texts: Sequence[str], document: dict[str, Any], number: int
) -> None:
    names = (
        *("session_id", "project", "user_id", "path", "upstream"),
        *("provider", "request_model", "error_type", "outcome"),
    )
    values = dict(zip(names, texts, strict=True))
    record = make(
        boot_id=os.urandom(16).hex(),
        session_source="header",
        started_at=START,
        tags=document,
        **{"raw_usage": document, "input_tokens": number, "chunks": number, "credits_remaining": 0.1, **values},
    )
    kept = []
    for ledger in both:
        assert ledger.insert([record]).inserted == [record]
        with ledger.engine.connect() as connection:
            found = call(connection, record.call.call_id)
            assert found is not None
            kept.append(found)
    assert kept[0] == kept[1]
    assert contents(both[0]) == contents(both[1])


def test_writers_at_once_lose_nothing_and_count_nothing_twice(store_url: str, ledger: Ledger, seed: Seed) -> None:
    """Three writers, each inserting its own calls and, again, a third of another's."""
    batches = [seed(300, number=n, boot_id=f"{n:032x}") for n in range(3)]
    inserted: list[CallRecord] = []

    def write(n: int) -> None:
        own = Ledger(store_url, statement_timeout=30)
        for start in range(0, 300, 30):
            batch = batches[n][start : start + 30] + batches[(n + 1) % 3][start : start + 10]
            inserted.extend(_stubbornly(own, batch))
        own.dispose()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inserted) == len({record.call.call_id for record in inserted}) == 900
    with ledger.engine.connect() as connection:
        report = verify(connection)
        assert (report.calls, report.findings) == (900, [])


def _stubbornly(ledger: Ledger, batch: list[CallRecord]) -> list[CallRecord]:
    """As the recorder does: a deadlock or a lock held too long is tried again."""
    for _ in range(20):
        try:
            return ledger.insert(batch).inserted
        except LedgerUnavailable:
            continue
    raise AssertionError("never got through")


def test_a_locked_database_is_unavailable_and_takes_the_batch_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: Seed
) -> None:
    monkeypatch.setattr("store.engine.BUSY_TIMEOUT", 0.05)
    url = f"sqlite:///{tmp_path}/weir.db"
    from store.migrate import upgrade

    upgrade(url)
    ledger, batch = Ledger(url), seed(3)
    blocker = sqlite3.connect(tmp_path / "weir.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable, match="SQLITE_BUSY"):
        ledger.insert(batch)
    ledger.ping()
    assert ledger.positions() == {}
    blocker.execute("ROLLBACK")
    blocker.close()
    assert ledger.insert(batch).inserted == batch
    ledger.dispose()


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path, seed: Seed) -> None:
    ledger = Ledger(f"postgresql://weir@/weir?host={tmp_path}")
    for ask in (ledger.ping, ledger.positions, lambda: ledger.insert(seed(1))):
        with pytest.raises(LedgerUnavailable):
            ask()
    ledger.dispose()


def test_a_server_that_comes_back_is_found_again(postgres_cluster: Cluster, postgres_url: str, seed: Seed) -> None:
    from store.migrate import upgrade

    upgrade(postgres_url)
    ledger, batch = Ledger(postgres_url), seed(10)
    ledger.insert(batch[:5])
    with ledger.engine.connect() as connection:
        own = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        assert own
    other = Ledger(postgres_url)
    with other.engine.begin() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    other.dispose()
    with pytest.raises(LedgerUnavailable):
        ledger.insert(batch)
    assert ledger.insert(batch).inserted == batch[5:]
    ledger.dispose()


def test_a_ledger_without_tables_refuses_no_row(empty_url: str, seed: Seed) -> None:
    ledger = Ledger(empty_url)
    with pytest.raises(LedgerUnavailable):
        ledger.insert(seed(3))
    with pytest.raises(LedgerUnavailable):
        ledger.ping()
    ledger.dispose()


def test_a_ledger_with_tables_answers(ledger: Ledger, seed: Seed) -> None:
    ledger.ping()
    before = ledger.size()
    ledger.insert(seed(500))
    assert ledger.size() > before > 0


def test_hourly_sums_are_complete(ledger: Ledger, seed: Seed) -> None:
    ledger.insert(seed(100))
    with ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT sum(calls) FROM usage_hourly").scalar() == 100
        assert len(list(records(connection))) == 100
        assert connection.scalar(sa.select(sa.func.count()).select_from(latency_hourly))
