"""The recorder as a process: kill -9, outages of the store, SIGTERM, a parent that is gone, and what a scraper sees."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from proxy.config import load_settings
from proxy.settings import Settings
from store.migrate import upgrade
from tests.proxy.recording.samples import Traffic

ROOT = Path(__file__).parents[2]


class Process:
    """One `python -m proxy.recorder`, as the supervisor starts it."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(128)
        self._socket.set_inheritable(True)
        self._log = log
        host, port = self._socket.getsockname()
        self.client = httpx.Client(base_url=f"http://{host}:{port}", timeout=10, trust_env=False)
        self.start()

    def start(self) -> None:
        fd = self._socket.fileno()
        command = [sys.executable, "-m", "proxy.recorder", "--admin-fd", str(fd)]
        with self._log.open("ab") as log:
            self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(fd,), cwd=ROOT, stderr=log)
        assert self.popen.stdin is not None
        self.popen.stdin.write(self.settings.to_wire().encode() + b"\n")
        self.popen.stdin.flush()

    def kill(self) -> None:
        self.popen.kill()
        self.end()

    def end(self) -> int:
        code = self.popen.wait(20)
        if self.popen.stdin is not None:
            self.popen.stdin.close()
        return code

    def close(self) -> None:
        if self.popen.poll() is None:
            self.kill()
        self.client.close()
        self._socket.close()

    def log(self) -> str:
        return self._log.read_text()

    def until(self, done: Callable[[], Any], seconds: float = 30.0) -> None:
        """Waits for something to become true."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def up(self) -> bool:
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def total(self, name: str, **labels: str) -> float:
        text = self.client.get("/metrics").text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def sql(self, query: str) -> list[Any]:
        path = self.settings.store.url.removeprefix("sqlite:///")
        try:
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            try:
                return connection.execute(query).fetchall()
            finally:
                connection.close()
        except sqlite3.OperationalError:
            return []

    def rows(self) -> int:
        found = self.sql("SELECT count(*) FROM calls")
        return int(found[0][0]) if found else 0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts recorders on one data folder."""
    running: list[Process] = []

    def begin(**flags: Any) -> Process:
        settings = load_settings(env={}, flags={"data": str(tmp_path / "data"), **flags})
        running.append(Process(settings, tmp_path / "recorder.log"))
        return running[-1]

    yield begin
    for process in running:
        process.close()


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    """Where workers write."""
    return tmp_path / "data" / "journal"


def test_a_call_is_in_sql_and_in_metrics_within_a_second(start: Callable[..., Process], journals: Path) -> None:
    process = start()
    process.until(lambda: process.up() and process.client.get("/readyz").json()["store"] == "ok")
    assert process.client.get("/readyz").status_code == 503, "no worker is up"
    traffic = Traffic(journals)
    process.until(lambda: process.client.get("/readyz").status_code == 200)
    process.client.get("/metrics")
    traffic.carry(1)
    written = time.monotonic()
    process.until(lambda: process.rows() == 1, 5)
    process.until(lambda: process.total("weir_calls_total") == 1, 5)
    assert time.monotonic() - written < 2.0, "one second, and as much for a crowded test machine"
    assert process.client.get("/api/calls").json()[0]["call_id"] == traffic.calls[1].call_id
    assert process.client.get("/api/usage").json()[0]["calls"] == 1
    traffic.die()


@pytest.mark.timeout(180)
def test_kill_nine_in_mid_load_loses_nothing_and_doubles_nothing(start: Callable[..., Process], journals: Path) -> None:
    process = start()
    traffic = Traffic(journals, segment_bytes=1 << 16)
    left = traffic.begin()
    for _ in range(2):
        before = process.rows()
        traffic.carry(500)
        process.until(lambda before=before: process.rows() > before)
        traffic.carry(1500)
        process.kill()
        process.start()
    traffic.carry(10)
    process.until(lambda: process.rows() == 4010, 60)
    assert process.sql("SELECT count(DISTINCT call_id), min(seq), max(seq), sum(seq) FROM calls") == [
        (4010, 2, 4011, 4011 * 4012 // 2 - 1)
    ]
    assert process.sql("SELECT sum(calls) FROM usage_hourly") == [(4010,)]
    process.until(lambda: process.total("weir_records_pending") == 1)  # counted after the commit
    assert process.total("weir_inflight_calls") == 1
    assert process.total("weir_records_dropped_total") == 0
    assert process.total("weir_calls_forwarded_total") == process.total("weir_records_committed_total") + 1
    traffic.end(left)
    process.until(lambda: process.rows() == 4011)
    traffic.die()


def test_a_store_that_is_away_at_the_start_stops_nothing(
    start: Callable[..., Process], journals: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "disk"
    blocked.write_text("a file where a folder should be")
    process = start(**{"store.url": f"sqlite:///{blocked / 'weir.db'}"})
    traffic = Traffic(journals)
    traffic.carry(50)
    process.until(process.up)
    process.until(lambda: process.total("weir_calls_total") == 50)
    ready = process.client.get("/readyz")
    assert (ready.status_code, ready.json()["store"]) == (200, "degraded")
    assert process.client.get("/api/calls").status_code == 503
    assert process.total("weir_store_up") == 0
    assert process.total("weir_records_pending") == 50
    blocked.unlink()
    process.until(lambda: process.rows() == 50)
    process.until(lambda: process.client.get("/readyz").json()["store"] == "ok")
    process.until(lambda: process.total("weir_records_committed_total") == 50)  # counted after the commit
    assert process.total("weir_calls_total") == 50
    traffic.die()


def test_a_store_that_goes_away_in_the_middle_stops_nothing(start: Callable[..., Process], journals: Path) -> None:
    process = start()
    traffic = Traffic(journals)
    traffic.carry(20)
    process.until(lambda: process.rows() == 20)
    holder = sqlite3.connect(process.settings.store.url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    traffic.carry(100)
    process.until(lambda: process.total("weir_calls_total") == 120, 5)
    assert process.rows() == 20
    process.until(lambda: process.client.get("/readyz").json()["store"] == "degraded", 15)
    holder.execute("ROLLBACK")
    holder.close()
    process.until(lambda: process.rows() == 120)
    process.until(lambda: process.total("weir_records_committed_total") == 120)
    traffic.die()


def test_postgresql_that_goes_away_in_mid_load_stops_nothing(
    start: Callable[..., Process], journals: Path, postgres_url: str
) -> None:
    """Every connection is cut, among them one in the middle of something, and no new one is let in."""
    database = sa.make_url(postgres_url).database
    admin = psycopg.connect(
        postgres_url.replace("+psycopg", "").replace(f"/{database}?", "/postgres?"), autocommit=True
    )
    process = start(**{"store.url": postgres_url})
    traffic = Traffic(journals)

    def count(where: str = "true") -> int:
        with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
            found = connection.execute(f"SELECT count(*) FROM calls WHERE {where}".encode()).fetchone()
            return found[0] if found else 0

    traffic.carry(300)
    process.until(process.up)
    process.until(lambda: process.total("weir_records_committed_total") == 300)
    traffic.carry(300)
    admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false".encode())
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
    traffic.carry(500)
    process.until(lambda: process.total("weir_calls_total") == 1100, 10)
    process.until(lambda: process.client.get("/readyz").json()["store"] == "degraded", 10)
    admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true".encode())
    admin.close()
    process.until(lambda: process.total("weir_records_committed_total") == 1100)
    assert count() == count("seq <= 1100") == 1100
    assert process.total("weir_records_dropped_total") == process.total("weir_records_pending") == 0
    answer = process.client.get("/api/usage?by=model").json()
    assert sum(row["calls"] for row in answer) == 1100
    traffic.die()


@pytest.mark.parametrize("how", ["SIGTERM", "EOF"])
def test_what_is_there_is_recorded_before_the_end(start: Callable[..., Process], journals: Path, how: str) -> None:
    process = start()
    process.until(process.up)
    traffic = Traffic(journals)
    traffic.begin()
    traffic.carry(3000)
    traffic.die()
    if how == "SIGTERM":
        process.popen.send_signal(signal.SIGTERM)
    elif process.popen.stdin is not None:
        process.popen.stdin.close()
    assert process.end() == 0
    assert process.sql("SELECT outcome = 'interrupted', count(*) FROM calls GROUP BY 1") == [(0, 3000), (1, 1)]
    assert list(journals.iterdir()) == []
    assert "Traceback" not in process.log()


def test_the_end_does_not_wait_for_a_store_that_is_away(
    start: Callable[..., Process], journals: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk").write_text("")
    process = start(**{"store.url": f"sqlite:///{tmp_path / 'disk' / 'weir.db'}"})
    process.until(process.up)
    traffic = Traffic(journals)
    traffic.carry(10)
    process.until(lambda: process.total("weir_calls_total") == 10)
    begun = time.monotonic()
    process.popen.send_signal(signal.SIGTERM)
    assert process.end() == 0
    assert time.monotonic() - begun < 8
    traffic.die()
    again = start()
    again.until(lambda: again.rows() == 10)


def test_ctrl_c_is_for_the_supervisor_alone(start: Callable[..., Process]) -> None:
    process = start()
    process.until(process.up)
    process.popen.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.up()


def test_the_recorder_steps_back_behind_the_workers(start: Callable[..., Process]) -> None:
    process = start()
    process.until(process.up)
    assert os.getpriority(os.PRIO_PROCESS, process.popen.pid) >= os.getpriority(os.PRIO_PROCESS, 0) + 5


def test_nothing_readable_by_others_and_no_secret_is_left(
    start: Callable[..., Process], journals: Path, tmp_path: Path
) -> None:
    process = start(**{"admin.token": "canary-token-123"})
    traffic = Traffic(journals)
    traffic.carry(5)
    process.until(lambda: process.rows() == 5)
    assert process.client.get("/metrics").status_code == 401
    right = {"authorization": "Bearer canary-token-123"}
    assert process.client.get("/metrics", headers=right).status_code == 200
    traffic.die()
    process.popen.send_signal(signal.SIGTERM)
    assert process.end() == 0
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"canary-token" not in path.read_bytes(), path


def test_an_old_database_is_migrated_at_the_start(start: Callable[..., Process], tmp_path: Path) -> None:
    process = start()
    process.until(lambda: process.rows() == 0 and process.sql("SELECT 1 FROM calls LIMIT 0") == [])
    process.until(process.up)
    process.until(lambda: process.client.get("/readyz").json()["store"] == "ok")
    assert upgrade(process.settings.store.url).current
