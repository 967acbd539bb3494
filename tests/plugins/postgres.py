"""A real PostgreSQL, one for the whole run, and a fresh database in it for each test that asks: `postgres_url`.

It listens on a UNIX socket in its own temporary folder and nowhere else, trusts its owner, and skips every fsync:
what survives a power cut is PostgreSQL's promise, not ours to test. Without its programs the tests are skipped.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "autovacuum": "off",
}


def programs() -> Path | None:
    """Where initdb and postgres are: on the path, else Debian's newest version."""
    on_path = shutil.which("initdb")
    if on_path is not None and shutil.which("postgres") is not None:
        return Path(on_path).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


class Cluster:
    """A running server in a folder of its own, which dies with the process that started it."""

    def __init__(self, binaries: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="weir-pg-"))
        self._binaries = binaries
        self._prefix = self._other_user()
        self._numbers = itertools.count(1)
        self._out = os.open(self.folder / "out", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        initdb = ["initdb", "--pgdata", self.data, "--auth", "trust", "--username", "weir", "--no-sync"]
        self._start([*initdb, "--encoding", "UTF8"]).wait(50)
        settings = [f"-c{name}={value}" for name, value in OPTIONS.items()]
        self._server = self._start(["postgres", "-D", self.data, f"-cunix_socket_directories={self.folder}", *settings])
        self._await()

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def url(self, database: str) -> str:
        """The address of one of its databases."""
        return f"postgresql+psycopg://weir@/{database}?host={self.folder}"

    def create(self, template: str = "template1") -> str:
        """A new database, as `template` is; its name. Nobody may be connected to the template."""
        name = f"t{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Drops a database, connections and all."""
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def stop(self) -> None:
        """Stops the server at once and removes its folder."""
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait(30)
        os.close(self._out)
        shutil.rmtree(self.folder)

    def _other_user(self) -> list[str]:
        """What stands before each command: a signal for the case that we are killed, and another user.

        PostgreSQL refuses to run as root: then it runs as `postgres`, who gets the folder.
        """
        if shutil.which("setpriv") is None:
            return []
        prefix = ["setpriv", "--pdeathsig", "QUIT"]
        if os.geteuid() != 0:
            return prefix
        user = pwd.getpwnam("postgres")
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        return [*prefix, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        program, *arguments = command
        line = [*self._prefix, str(self._binaries / program), *arguments]
        return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._out, cwd=self.folder)

    def _await(self) -> None:
        """Waits until the server answers; what it said goes with the failure when it does not."""
        give_up = time.monotonic() + 50
        while True:
            try:
                self._execute("SELECT 1")
            except psycopg.OperationalError:
                if self._server.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError((self.folder / "out").read_text(errors="replace")) from None
                time.sleep(0.05)
            else:
                return

    def _execute(self, statement: str) -> None:
        with psycopg.connect(f"host={self.folder} dbname=postgres user=weir", autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """The server itself, for tests that restart it or count its connections."""
    binaries = programs()
    if binaries is None:
        pytest.skip("no PostgreSQL programs (initdb, postgres) on this machine")
    cluster = Cluster(binaries)
    yield cluster
    cluster.stop()


@pytest.fixture
def postgres_url(postgres_cluster: Cluster) -> Iterator[str]:
    """The address of an empty database that no other test sees."""
    name = postgres_cluster.create()
    yield postgres_cluster.url(name)
    postgres_cluster.drop(name)
