"""Journals in, rows and metrics out: each call once, whatever happens to the store, the workers and the recorder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from proxy.recording.intake import GRACE
from tests.proxy.recording.rig import Rig
from tests.proxy.recording.samples import BOOT, Traffic, make_call, make_reading

TOKENS = "input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens"


def assert_books_agree(rig: Rig) -> None:
    """Prometheus = SQL, to the token and the nano-dollar."""
    rig.assert_balanced()
    calls, tokens_in, tokens_out, cost = rig.sql(
        "SELECT count(*), sum(input_tokens), sum(output_tokens), sum(cost_nusd) FROM calls"
    )[0]
    assert rig.total("weir_calls_total") == rig.total("weir_records_committed_total") == calls
    tokens = rig.samples("weir_tokens_total")
    assert sum(value for key, value in tokens.items() if dict(key)["type"].startswith("input")) == (tokens_in or 0)
    assert sum(value for key, value in tokens.items() if dict(key)["type"].startswith("output")) == (tokens_out or 0)
    shown = rig.samples("weir_cost_usd_total").values()
    assert sum(round(value * 10**9) for value in shown) == (cost or 0)
    unpriced, by_source, by_outcome = (
        rig.sql("SELECT coalesce(sum(unpriced), 0) FROM usage_hourly")[0][0],
        rig.sql("SELECT usage_source, count(*) FROM calls GROUP BY 1"),
        rig.sql("SELECT outcome, count(*) FROM calls GROUP BY 1"),
    )
    assert rig.total("weir_unpriced_calls_total") == unpriced
    for source, count in by_source:
        assert rig.total("weir_usage_total", source=source) == count
    for outcome, count in by_outcome:
        assert rig.total("weir_calls_total", outcome=outcome) == count


def test_prometheus_and_sql_agree_to_the_nano_dollar(rig: Rig) -> None:
    traffic = Traffic(rig.journals)
    traffic.carry(1500)
    rig.drain()
    assert rig.sql("SELECT count(*) FROM calls") == [(1500,)]
    assert_books_agree(rig)
    assert rig.total("weir_cost_usd_total") > 0
    traffic.die()


def test_a_call_in_flight_is_counted_as_such(rig: Rig) -> None:
    traffic = Traffic(rig.journals)
    first, second = traffic.begin(), traffic.begin()
    rig.drain()
    assert rig.total("weir_inflight_calls", provider="openai") == 2
    assert rig.total("weir_records_pending") == 2
    traffic.end(first)
    rig.drain()
    assert rig.total("weir_inflight_calls") == 1
    traffic.end(second)
    rig.drain()
    assert rig.total("weir_inflight_calls") == rig.total("weir_records_pending") == 0
    assert_books_agree(rig)
    traffic.die()


def test_frames_that_leave_no_row_are_read_to_the_end_all_the_same(rig: Rig) -> None:
    traffic = Traffic(rig.journals, segment_bytes=1 << 24)
    for _ in range(2500):
        traffic.begin()
    rig.drain()
    assert rig.total("weir_inflight_calls") == 2500
    traffic.die()


def test_an_outcome_whose_intent_could_not_be_written_is_a_call_like_any_other(rig: Rig) -> None:
    traffic = Traffic(rig.journals)
    traffic.writer.outcome(make_call(1), make_reading())
    rig.drain()
    assert rig.sql("SELECT count(*) FROM calls") == [(1,)]
    assert rig.total("weir_calls_forwarded_total") == 1
    assert rig.total("weir_inflight_calls") == rig.total("weir_records_pending") == 0
    assert_books_agree(rig)
    traffic.die()


def test_records_that_do_not_fit_in_memory_are_read_again_and_counted_once(rigged: Callable[..., Rig]) -> None:
    rig = rigged(capacity=1200)
    traffic = Traffic(rig.journals)
    rig.drain()
    rig.store.away = True
    for _ in range(5):
        traffic.carry(1000)
        while rig.turn():
            pass
    assert len(rig.pending) == 1200
    assert rig.total("weir_calls_total") == 5000, "metrics go on"
    assert rig.total("weir_records_pending") == 5000
    rig.assert_balanced()
    rig.store.away = False
    traffic.carry(10)
    rig.drain()
    assert rig.sql("SELECT count(*), count(DISTINCT call_id) FROM calls") == [(5010, 5010)]
    assert_books_agree(rig)
    traffic.die()


def test_no_frame_is_decoded_more_than_twice_after_an_outage(rigged: Callable[..., Rig]) -> None:
    """Catching up is linear: the second reader starts where the queue ended and stops where the first one is."""
    rig = rigged(capacity=1000)
    traffic = Traffic(rig.journals)
    rig.store.away = True
    traffic.carry(8000)
    while rig.turn():
        pass
    reads = 0
    rear = rig.intake._followed[BOOT]
    rig.store.away = False
    rig.turn()
    while rig.turn() or rear.behind:
        reads += 1
    assert reads <= 8000 * 2 / 1000 + 5
    assert rig.sql("SELECT count(*) FROM calls") == [(8000,)]
    traffic.die()


def test_a_new_recorder_goes_on_where_the_last_one_committed(rig: Rig) -> None:
    traffic = Traffic(rig.journals)
    traffic.carry(700)
    rig.drain()
    traffic.carry(300)
    rig.intake.turn()
    rig.start()
    rig.drain()
    assert rig.sql("SELECT count(*) FROM calls") == [(1000,)]
    assert rig.total("weir_calls_total") == 300, "what was committed before is not counted again"
    assert rig.total("weir_records_committed_total") == 300, "nor given to the store again"
    assert rig.total("weir_records_pending") == 0
    rig.assert_balanced()
    traffic.die()


def test_a_call_that_spans_two_recorders_is_in_flight_in_both(rig: Rig) -> None:
    traffic = Traffic(rig.journals)
    call = traffic.begin()
    traffic.carry(200)
    rig.drain()
    rig.start()
    rig.drain()
    assert rig.total("weir_inflight_calls") == 1
    traffic.end(call)
    rig.drain()
    assert rig.total("weir_inflight_calls") == 0
    assert rig.sql("SELECT count(*) FROM calls") == [(201,)]
    assert rig.total("weir_records_dropped_total") == 0
    rig.assert_balanced()
    traffic.die()


def test_a_commit_whose_answer_was_lost_changes_nothing(rig: Rig) -> None:
    traffic = Traffic(rig.journals)
    traffic.carry(50)
    rig.store.forgetful = True
    rig.intake.turn()
    assert rig.deposit.turn(0) > 0
    rig.drain()
    assert rig.sql("SELECT count(*) FROM calls") == [(50,)]
    assert rig.total("weir_records_committed_total") == 50
    assert rig.total("weir_records_written_total") == 0, "they were there already"
    rig.assert_balanced()
    traffic.die()


def test_calls_of_a_killed_worker_become_interrupted_rows(rig: Rig) -> None:
    traffic = Traffic(rig.journals)
    silent, heard = traffic.begin(), traffic.begin()
    traffic.progress(heard)
    traffic.carry(10)
    rig.drain()
    traffic.die()
    rig.drain()
    rows = rig.sql(
        "SELECT call_id, input_tokens, output_tokens, usage_source, duration_us, request_model FROM calls "
        "WHERE outcome = 'interrupted' ORDER BY seq"
    )
    assert rows == [
        (silent.call_id, None, None, "none", None, None),
        (heard.call_id, 6, 3, "partial", None, "gpt-3.5-turbo"),
    ]
    assert_books_agree(rig)
    assert list(rig.journals.iterdir()) == [], "the journal is gone once all of it is in the ledger"
    assert rig.sql("SELECT * FROM journal_positions") == []


def test_calls_are_interrupted_for_the_next_recorder_too(rig: Rig) -> None:
    """The worker dies while no recorder runs, and the intent lies before the committed place."""
    traffic = Traffic(rig.journals)
    traffic.begin()
    traffic.carry(500)
    rig.drain()
    traffic.die()
    rig.start()
    rig.drain()
    assert rig.sql("SELECT outcome, count(*) FROM calls WHERE outcome = 'interrupted' GROUP BY 1") == [
        ("interrupted", 1)
    ]
    rig.assert_balanced()


def test_lost_records_are_counted_and_leave_a_gap(rig: Rig) -> None:
    traffic = Traffic(rig.journals)
    known = traffic.begin()
    unknown = [traffic.begin() for _ in range(2)]
    traffic.writer._lose(known.seq, "EIO")
    for call in unknown:
        traffic.writer._lose(call.seq, "EIO")
    traffic.writer._lose(99, "journal_full")
    traffic.writer.retry()
    rig.drain()
    assert rig.sql("SELECT seq_from, seq_to, reason FROM gaps ORDER BY 1") == [(1, 3, "EIO"), (99, 99, "journal_full")]
    assert rig.total("weir_records_dropped_total", reason="EIO") == 3
    assert rig.total("weir_records_dropped_total", reason="journal_full") == 1
    assert rig.total("weir_inflight_calls") == rig.total("weir_records_pending") == 0
    rig.assert_balanced()
    traffic.die()


def test_without_the_store_a_new_recorder_counts_only_what_is_new(rig: Rig) -> None:
    traffic = Traffic(rig.journals)
    traffic.carry(30)
    rig.drain()
    rig.store.away = True
    rig.start()
    traffic.carry(12)
    rig.turn()
    assert rig.total("weir_calls_total") == 12
    assert len(rig.pending) == 0, "where the ledger stands is not known yet"
    rig.store.away = False
    rig.drain()
    assert rig.sql("SELECT count(*) FROM calls") == [(42,)]
    rig.assert_balanced()
    traffic.die()


def test_a_bookmark_ahead_of_the_ledger_loses_no_row(rig: Rig) -> None:
    """The database was restored from a backup: what the journal still has is recorded again."""
    traffic = Traffic(rig.journals)
    traffic.carry(20)
    rig.drain()
    for table in ("calls", "sessions", "usage_hourly", "latency_hourly", "journal_positions"):
        rig.sql(f"DELETE FROM {table}")
    rig.store.away = True
    rig.start()
    rig.turn()
    rig.store.away = False
    rig.drain()
    assert rig.sql("SELECT count(*) FROM calls") == [(20,)]
    traffic.die()


def test_segments_are_deleted_once_they_are_committed_and_not_before(rig: Rig) -> None:
    traffic = Traffic(rig.journals, segment_bytes=4096)
    rig.store.away = True
    traffic.carry(200)
    rig.turn()
    many = len(list(rig.journals.glob("*/*.seg")))
    rig.turn()
    assert len(list(rig.journals.glob("*/*.seg"))) == many > 5
    rig.store.away = False
    rig.drain()
    rig.turn()
    assert len(list(rig.journals.glob("*/*.seg"))) <= 2
    traffic.die()


def test_a_journal_that_is_about_to_begin_is_left_alone(rig: Rig) -> None:
    newborn = rig.journals / ("b" * 32)
    newborn.mkdir()
    rig.drain()
    assert newborn.exists()
    old = time.time() - GRACE - 1
    os.utime(newborn, (old, old))
    rig.drain()
    assert not newborn.exists()


def test_several_workers_at_once(rig: Rig) -> None:
    writers = [Traffic(rig.journals, str(n) * 32, seed=n) for n in range(4)]
    for round_ in range(5):
        for traffic in writers:
            traffic.carry(20 + round_)
        rig.turn()
    rig.drain()
    assert rig.sql("SELECT boot_id, count(*) FROM calls GROUP BY 1 ORDER BY 1") == [
        (str(n) * 32, 110) for n in range(4)
    ]
    assert rig.intake.workers == 4
    assert_books_agree(rig)
    for traffic in writers:
        traffic.die()


def test_damaged_bytes_are_counted_and_cost_only_themselves(rig: Rig) -> None:
    traffic = Traffic(rig.journals, segment_bytes=1 << 20)
    traffic.carry(5)
    os.write(traffic.writer._fd, b"\x37\x5e" + b"garbage" * 30)
    traffic.carry(5)
    rig.drain()
    assert rig.sql("SELECT count(*) FROM calls") == [(10,)]
    assert rig.intake.journal_damage >= 1
    traffic.die()


def test_active_sessions_are_the_named_ones_of_the_last_minutes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.recording.intake.SURVEY_SECONDS", 0.0)
    traffic = Traffic(rig.journals)
    now = time.time_ns() // 1000
    for name, source, age in (
        ("a", "header", 0),
        ("a", "header", 5),
        ("b", "path", 200),
        ("c", "header", 400),
        ("d", "none", 0),
    ):
        call = traffic.begin(session_id=name, session_source=source, started_at=now - age * 1_000_000)
        traffic.end(call, make_reading(duration_us=0))
    rig.drain()
    assert rig.intake.active_sessions == 2
    traffic.die()
