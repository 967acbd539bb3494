"""Any order of work, kills and outages: each call one row, each frame counted once, the books balance throughout."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.recording.follow import interrupted_reading
from store.migrate import upgrade
from store.record import Call, Outcome, Reading, UsageSource
from tests.proxy.recording.rig import Rig
from tests.proxy.recording.samples import Traffic, make_reading


def test_an_interrupted_call_keeps_what_was_known_of_it() -> None:
    assert interrupted_reading(None) == Reading(outcome=Outcome.INTERRUPTED)
    progress = make_reading(outcome=Outcome.WEIR_FAULT, usage_source=UsageSource.PROVIDER)
    found = interrupted_reading(progress)
    assert (found.outcome, found.usage_source, found.duration_us) == ("interrupted", "partial", None)
    assert (found.input_tokens, found.request_model, found.http_status) == (6, "gpt-3.5-turbo", 200)
    estimated = interrupted_reading(make_reading(usage_source=UsageSource.ESTIMATED))
    assert estimated.usage_source == "estimated"


MEMORY = Path("/dev/shm")
"""Thousands of commits are forced to disk here; what that survives is tested elsewhere."""


class Lives(RuleBasedStateMachine):
    """Workers, recorders and the store come and go."""

    template: Path

    @initialize(capacity=st.sampled_from((50, 70)))
    def begin(self, capacity: int) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.rig = Rig(self.folder / "rig", self.template, capacity=capacity)
        self.workers: list[Traffic] = []
        self.dead: list[Traffic] = []
        self.in_flight: list[tuple[Traffic, Call]] = []
        self.new_worker(1)

    @rule(seed=st.integers(0, 1000))
    def new_worker(self, seed: int) -> None:
        if len(self.workers) < 3:
            boot_id = f"{len(self.workers) + len(self.dead):032x}"
            self.workers.append(Traffic(self.rig.journals, boot_id, seed=seed, segment_bytes=2048))

    @precondition(lambda self: self.workers)
    @rule(count=st.sampled_from((1, 3, 60)), which=st.integers(0, 2))
    def carry(self, count: int, which: int) -> None:
        self.workers[which % len(self.workers)].carry(count)

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 2), progress=st.booleans())
    def begin_call(self, which: int, progress: bool) -> None:
        traffic = self.workers[which % len(self.workers)]
        call = traffic.begin()
        if progress:
            traffic.progress(call)
        self.in_flight.append((traffic, call))

    @precondition(lambda self: self.in_flight)
    @rule(which=st.integers(0, 20))
    def end_call(self, which: int) -> None:
        traffic, call = self.in_flight.pop(which % len(self.in_flight))
        traffic.end(call)

    @precondition(lambda self: len(self.workers) > 1)
    @rule(which=st.integers(0, 2))
    def kill_worker(self, which: int) -> None:
        traffic = self.workers.pop(which % len(self.workers))
        traffic.die()
        self.dead.append(traffic)
        self.in_flight = [(one, call) for one, call in self.in_flight if one is not traffic]

    @rule()
    def read(self) -> None:
        self.rig.intake.turn()

    @rule()
    def write(self) -> None:
        self.rig.deposit.turn(0)

    @rule(away=st.booleans())
    def store_comes_or_goes(self, away: bool) -> None:
        self.rig.store.away = away

    @rule()
    def lose_the_answer_to_a_commit(self) -> None:
        self.rig.store.forgetful = True

    @rule()
    def kill_recorder(self) -> None:
        self.rig.start()

    @invariant()
    def the_books_balance(self) -> None:
        if hasattr(self, "rig"):
            self.rig.assert_balanced()

    def teardown(self) -> None:
        if not hasattr(self, "rig"):
            return
        try:
            self.check_everything_arrived_once()
        finally:
            for traffic in self.workers:
                traffic.die()
            self.rig.close()
            shutil.rmtree(self.folder)

    def check_everything_arrived_once(self) -> None:
        self.rig.store.away = self.rig.store.forgetful = False
        self.rig.drain()
        everyone = [*self.workers, *self.dead]
        expected = {
            traffic.calls[seq].call_id: reading.outcome
            for traffic in everyone
            for seq, reading in traffic.ended.items()
        }
        for traffic in self.dead:
            for seq in traffic.calls.keys() - traffic.ended.keys():
                expected[traffic.calls[seq].call_id] = Outcome.INTERRUPTED
        rows = self.rig.sql("SELECT call_id, outcome FROM calls")
        assert len(rows) == len(expected)
        assert dict(rows) == expected
        assert self.rig.total("weir_inflight_calls") == self.rig.total("weir_records_pending") == len(self.in_flight)
        assert self.rig.sql("SELECT coalesce(sum(calls), 0) FROM usage_hourly") == [(len(expected),)]
        self.rig.assert_balanced()


def test_each_call_leaves_exactly_one_row_in_any_order_of_events(
    template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With small limits, so that each of them is met in a few steps."""
    monkeypatch.setattr("proxy.recording.intake.READ_LIMIT", 50)
    monkeypatch.setattr("proxy.recording.deposit.BATCH", 40)
    Lives.template = template
    machine = Lives.TestCase
    machine.settings = settings(
        max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    machine().runTest()


def test_the_template_is_migrated(template: Path) -> None:
    assert upgrade(f"sqlite:///{template}").current
