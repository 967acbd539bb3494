"""A real weir: `python -m proxy serve` as a process, with its own data folder, ports and upstreams."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from tests.plugins.simulator import Simulator

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = ("-m", "proxy")
START_SECONDS = 50.0
"""The recorder starts with a low priority: on a machine that is busy with other tests that takes its time."""
WAIT_SECONDS = 15.0
ADDRESSES = re.compile(r"proxy on http://[^\s]*:(\d+)\s+admin on http://[^\s]*:(\d+)")

Row = dict[str, Any]
Upstreams = Mapping[str, str | Mapping[str, Any]]
"""Name -> base URL, or the whole `[upstreams.NAME]` table."""


class NeverHappened(AssertionError):
    """What a test waited for did not come."""


class Weir:
    """A weir process. `start` may be called again after `stop`: the data folder stays."""

    def __init__(
        self,
        folder: Path,
        upstreams: Upstreams,
        *,
        store: str = "",
        proxy: Mapping[str, Any] | None = None,
        more: str = "",
    ) -> None:
        self.folder = folder
        self.config = folder / "weir.toml"
        self.database = folder / "data" / "weir.db"
        self.store = store
        self.lines: list[str] = []
        """What it printed so far, standard output and error together."""
        self.proxy_port = self.admin_port = 0
        self._process: subprocess.Popen[str] | None = None
        url = store or f"sqlite:///{self.database}"
        self.config.write_text(_toml(folder / "data", url, upstreams, proxy or {}) + more, encoding="utf-8")

    # -- life

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def start(self) -> Weir:
        command = [sys.executable, *COMMAND, "serve", "--config", str(self.config)]
        plain = {key: value for key, value in os.environ.items() if not key.startswith("WEIR_")}
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**plain, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._await_addresses(self._printed())
        self._await_health()
        return self

    def _printed(self) -> queue.Queue[str | None]:
        """Its lines as they come; None at the end. A thread reads them, so that the pipe never fills."""
        lines: queue.Queue[str | None] = queue.Queue()
        stream = self.process.stdout
        assert stream is not None

        def read() -> None:
            with stream:
                for line in stream:
                    self.lines.append(line.rstrip("\n"))
                    lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        return lines

    def _await_addresses(self, lines: queue.Queue[str | None]) -> None:
        while (line := lines.get(timeout=START_SECONDS)) is not None:
            if found := ADDRESSES.search(line):
                self.proxy_port, self.admin_port = int(found[1]), int(found[2])
                return
        raise NeverHappened("weir ended before it served:\n" + "\n".join(self.lines))

    def _await_health(self) -> None:
        def healthy() -> bool:
            try:
                return all(self._get(url).status_code == 200 for url in (f"{self.url}/health", f"{self.admin}/readyz"))
            except httpx.HTTPError:
                return False

        self.wait(healthy, timeout=START_SECONDS)

    def stop(self, sign: signal.Signals = signal.SIGTERM, *, timeout: float = 40.0) -> int:
        """Ends it, and says with which code it ended."""
        self.process.send_signal(sign)
        return self.process.wait(timeout)

    def kill_all(self) -> None:
        """kill -9 for the supervisor and all its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    # -- addresses

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy_port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def _get(self, url: str) -> httpx.Response:
        return httpx.get(url, trust_env=False, timeout=20)

    def metrics(self) -> str:
        return self._get(f"{self.admin}/metrics").text

    # -- what it wrote down

    def rows(self, where: str = "1=1", view: str = "call_log") -> list[Row]:
        """Rows of the view that people query, in the order in which the calls began."""
        order = " ORDER BY started_at, call_id" if view == "call_log" else ""
        statement = f"SELECT * FROM {view} WHERE {where}{order}"
        return self._postgres(statement) if self.store else self._sqlite(statement)

    def _sqlite(self, statement: str) -> list[Row]:
        if not self.database.exists():
            return []
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5) as connection:
            connection.row_factory = sqlite3.Row
            rows = [dict(row) for row in connection.execute(statement)]
        connection.close()
        return rows

    def _postgres(self, statement: str) -> list[Row]:
        with psycopg.connect(self.store.replace("+psycopg", ""), row_factory=dict_row) as connection:
            return connection.execute(statement).fetchall()  # type: ignore[arg-type]

    def wait(self, until: Callable[[], Any], *, timeout: float = WAIT_SECONDS) -> Any:
        """The first true value of `until`."""
        end = time.monotonic() + timeout
        while not (value := until()):
            if time.monotonic() > end:
                raise NeverHappened(f"not within {timeout} s; weir printed:\n" + "\n".join(self.lines[-40:]))
            time.sleep(0.02)
        return value

    def wait_for_rows(self, count: int, where: str = "1=1", *, timeout: float = WAIT_SECONDS) -> list[Row]:
        """The rows, once there are that many."""

        def enough() -> list[Row] | None:
            rows = self.rows(where)
            return rows if len(rows) >= count else None

        found: list[Row] = self.wait(enough, timeout=timeout)
        return found

    def row(self, call_id: str | None) -> Row:
        """The row of one call, as soon as it is there."""
        assert call_id, "the answer carried no x-weir-call-id"
        return self.wait_for_rows(1, f"call_id = '{call_id}'")[0]


def _toml(data: Path, store: str, upstreams: Upstreams, proxy: Mapping[str, Any]) -> str:
    sections: dict[str, Mapping[str, Any]] = {
        "proxy": {"port": 0, **proxy},
        "admin": {"port": 0},
        "store": {"url": store},
        **{f"upstreams.{k}": {"base_url": v} if isinstance(v, str) else v for k, v in upstreams.items()},
    }
    lines = [f"data = {json.dumps(str(data))}"]
    for name, table in sections.items():
        lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join([*lines, ""])


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


@contextmanager
def running(
    folder: Path,
    upstreams: Upstreams,
    *,
    store: str = "",
    proxy: Mapping[str, Any] | None = None,
    more: str = "",
) -> Iterator[Weir]:
    """A weir for as long as the block runs. `proxy` are keys of `[proxy]`, `more` is TOML for the end of the file."""
    weir = Weir(folder, upstreams, store=store, proxy=proxy, more=more)
    try:
        yield weir.start()
    finally:
        if weir._process is not None and weir.process.poll() is None:
            try:
                weir.stop()
            except subprocess.TimeoutExpired:
                weir.kill_all()
                raise


VENDORS = (
    *("openai", "anthropic", "gemini", "ollama", "mistral", "cohere"),
    *("vision", "llmstudio-engine", "livepeer", "ktransformers", "segmind"),
)
"""Prefixes of the simulator, and names of the upstreams in front of which `weir` stands."""


@pytest.fixture(scope="session")
def weir(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weir]:
    """A weir in front of the simulator, shared by all tests: find your own rows by their call id or session."""
    upstreams = {name: f"{simulator.url}/{name}" for name in VENDORS}
    with running(tmp_path_factory.mktemp("weir"), upstreams) as started:
        yield started
