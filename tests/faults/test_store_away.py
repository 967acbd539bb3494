"""A store that is away: traffic does not notice, and the rows arrive once it is there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.plugins.rawhttp import Connection, request
from tests.plugins.simulator import Simulator
from tests.plugins.weir import NeverHappened, Weir

if TYPE_CHECKING:
    from tests.plugins.postgres import Cluster


class Unready(Weir):
    """A weir whose store is away: it serves, and that is all that can be waited for."""

    def _await_health(self) -> None:
        begun = time.monotonic()
        self.wait(self._serves, timeout=50)
        self.served_after = time.monotonic() - begun

    def _serves(self) -> bool:
        try:
            return self._get(f"{self.url}/health").status_code == 200
        except httpx.HTTPError:
            return False

    def store_state(self) -> str | None:
        """What `/readyz` says of the store; None while the recorder is still starting."""
        try:
            return str(self._get(f"{self.admin}/readyz").json()["store"])
        except httpx.HTTPError:
            return None


def call(weir: Weir, count: int) -> set[str]:
    body = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
    ids = set()
    with Connection(weir.proxy_port, timeout=20) as client:
        for _ in range(count):
            answer = client.ask(
                request("POST", "/openai/v1/chat/completions", [(b"Content-Type", b"application/json")], body)
            )
            assert answer.status == 200
            ids.add(str(answer.value("x-weir-call-id")))
    return ids


def arrive(weir: Unready, ids: set[str]) -> None:
    """All of them, once each, once the store is there."""
    weir.wait(lambda: weir.store_state() == "ok", timeout=60)
    rows = weir.wait_for_rows(len(ids), timeout=60)
    assert sorted(str(row["call_id"]) for row in rows) == sorted(ids)


@pytest.mark.timeout(150)
def test_postgresql_away_at_the_start_and_again_later(
    tmp_path: Path, simulator: Simulator, postgres_cluster: Cluster
) -> None:
    """Its database does not exist yet, as when the server is still starting; later its connections break."""
    name = f"late{time.time_ns()}"
    url = postgres_cluster.url(name)
    weir = Unready(tmp_path, {"openai": f"{simulator.url}/openai"}, store=url)
    try:
        weir.start()
        ids = call(weir, 60)
        weir.wait(lambda: weir.store_state() == "degraded", timeout=50)
        ids |= call(weir, 20)
        postgres_cluster._execute(f"CREATE DATABASE {name}")
        arrive(weir, ids)
        _shut(postgres_cluster, name, shut=True)
        ids |= call(weir, 40)
        weir.wait(lambda: weir.store_state() == "degraded", timeout=50)
        _shut(postgres_cluster, name, shut=False)
        arrive(weir, ids)
        assert weir.stop() == 0
    finally:
        if weir.process.poll() is None:
            weir.kill_all()
        postgres_cluster.drop(name)


def _shut(cluster: Cluster, name: str, *, shut: bool) -> None:
    """Breaks every connection to one database and lets none in, or lets them in again."""
    cluster._execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {str(not shut).lower()}")
    if shut:
        cluster._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


@pytest.mark.timeout(150)
def test_sqlite_where_it_cannot_be_written(tmp_path: Path, simulator: Simulator) -> None:
    """A file stands where its folder should be: root may write anywhere, so permissions would prove nothing."""
    (tmp_path / "place").write_text("in the way", encoding="ascii")
    weir = Unready(tmp_path, {"openai": f"{simulator.url}/openai"}, store=f"sqlite:///{tmp_path / 'place' / 'weir.db'}")
    weir.database, weir.store = tmp_path / "place" / "weir.db", ""
    try:
        weir.start()
        ids = call(weir, 30)
        weir.wait(lambda: weir.store_state() == "degraded", timeout=50)
        (tmp_path / "place").unlink()
        (tmp_path / "place").mkdir()
        arrive(weir, ids)
        assert weir.stop() == 0
    finally:
        if weir.process.poll() is None:
            weir.kill_all()


@pytest.mark.timeout(100)
def test_what_the_store_never_got_is_there_after_the_next_start(tmp_path: Path, simulator: Simulator) -> None:
    """Also when weir ended by kill -9 in between: the journal is what counts."""
    (tmp_path / "place").write_text("in the way", encoding="ascii")
    weir = Unready(tmp_path, {"openai": f"{simulator.url}/openai"}, store=f"sqlite:///{tmp_path / 'place' / 'weir.db'}")
    weir.database, weir.store = tmp_path / "place" / "weir.db", ""
    try:
        weir.start()
        ids = call(weir, 30)
        weir.process.kill()
        weir.process.wait(10)
        weir.wait(lambda: not weir._serves(), timeout=20)
        (tmp_path / "place").unlink()
        (tmp_path / "place").mkdir()
        weir.wait(lambda: _started(weir), timeout=40)
        arrive(weir, ids)
        assert weir.stop() == 0
    finally:
        if weir.process.poll() is None:
            weir.kill_all()


def _started(weir: Weir) -> bool:
    """The children of the one that was killed may still hold their locks for a moment."""
    try:
        weir.start()
    except NeverHappened:
        return False
    return True
