"""The recorder's two halves on a real SQLite ledger, turned by hand instead of by threads."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from proxy.metrics import Metrics
from proxy.pricing import Pricer
from proxy.recording.bookmark import Bookmark
from proxy.recording.deposit import DeadLetters, Deposit
from proxy.recording.intake import Intake
from proxy.recording.pending import Pending
from proxy.settings import UpstreamSettings
from store.engine import LedgerUnavailable
from store.journal import Gap, Position
from store.ledger import Committed, Ledger
from store.record import CallRecord

UPSTREAMS = {"openai": UpstreamSettings(base_url="http://127.0.0.1:1", provider="openai", price_provider="openai")}
PARTS = ("committed_total", "pending", "dropped_total")
_PRICER = Pricer((), UPSTREAMS)


class Switched:
    """A real ledger that can be away, and that can lose the answer to a commit."""

    def __init__(self, url: str) -> None:
        self.away = False
        self.forgetful = False
        self._ledger = Ledger(url)

    def insert(
        self,
        records: Sequence[CallRecord],
        *,
        positions: Mapping[str, Position] | None = None,
        lost: Sequence[tuple[str, Gap]] = (),
    ) -> Committed:
        self.check()
        done = self._ledger.insert(records, positions=positions, lost=lost)
        if self.forgetful:
            self.forgetful = False
            raise LedgerUnavailable("the connection broke after COMMIT")
        return done

    def positions(self) -> dict[str, Position]:
        self.check()
        return self._ledger.positions()

    def close_boot(self, boot_id: str) -> None:
        self.check()
        self._ledger.close_boot(boot_id)

    def ensure_partitions(self, now: int) -> list[str]:
        return []

    def prune(self, before: int) -> int:
        return 0

    def ping(self) -> None:
        self.check()

    def dispose(self) -> None:
        self._ledger.dispose()

    def check(self) -> None:
        if self.away:
            raise LedgerUnavailable("away")


class Rig:
    """One recorder life after another on the same folder and database."""

    def __init__(self, folder: Path, template: Path, *, capacity: int = 10_000) -> None:
        self.folder = folder
        self.journals = folder / "journal"
        self.journals.mkdir(parents=True)
        self.database = folder / "weir.db"
        shutil.copy(template, self.database)
        self.store = Switched(f"sqlite:///{self.database}")
        self._capacity = capacity
        self.start()

    def start(self) -> None:
        """A new recorder process, as far as its memory goes."""
        self.metrics = Metrics(CollectorRegistry(), version="test")
        self.pending = Pending(self._capacity)
        self.bookmark = Bookmark(self.folder / "recorded.json")
        self.intake = Intake(self.journals, _PRICER, self.metrics, self.pending, sync_every=10.0)
        self.deposit = Deposit(
            self._open,
            self.intake,
            self.pending,
            self.metrics,
            keep_days=90,
            dead_letters=DeadLetters(self.folder / "dead-letter.jsonl"),
            bookmark=self.bookmark,
        )
        self.deposit.turn(0)
        if not self.deposit.up:
            self.intake.count_from(self.bookmark.load())

    def turn(self) -> int:
        """Both threads once."""
        rows = self.intake.turn()
        self.deposit.turn(0)
        return rows

    def drain(self) -> None:
        """Until nothing is left to do."""
        for _ in range(2000):
            if not self.turn() and self.intake.is_drained and not self.intake.done and not len(self.pending):
                return
        raise AssertionError("the recorder does not come to rest")

    def close(self) -> None:
        self.store.dispose()

    def sql(self, query: str) -> list[Any]:
        with sqlite3.connect(self.database) as connection:
            rows = connection.execute(query).fetchall()
        connection.close()
        return rows

    def samples(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The series of one metric."""
        text = self.metrics.render()[0].decode()
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        }

    def total(self, name: str, **labels: str) -> float:
        """The sum over the series of a metric that have these labels."""
        found = self.samples(name).items()
        return sum(value for series, value in found if labels.items() <= dict(series).items())

    def assert_balanced(self) -> None:
        """Forwarded = committed + pending + dropped, at any moment."""
        lines = [line.split() for line in self.metrics.render()[0].decode().splitlines() if line.startswith("weir_")]
        names = ("weir_calls_forwarded_total", *(f"weir_records_{part}" for part in PARTS))
        begun, *parts = (sum(float(line[-1]) for line in lines if line[0].partition("{")[0] == name) for name in names)
        assert begun == sum(parts), parts

    def _open(self) -> Switched:
        self.store.check()
        return self.store
