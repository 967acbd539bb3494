"""A real PostgreSQL, one for the whole run, and a fresh database in it for each test that asks: `postgres_url`.

It listens on a UNIX socket in its own temporary folder and nowhere else, trusts its owner, and skips every fsync:
what survives a power cut is PostgreSQL's promise, not ours to test. Without its programs the tests are skipped.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
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
    """Where initdb and pg_ctl are: on the path, else Debian's newest version."""
    on_path = shutil.which("initdb")
    if on_path is not None and shutil.which("pg_ctl") is not None:
        return Path(on_path).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


class Cluster:
    """A running server in a folder of its own."""

    def __init__(self, binaries: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="weir-pg-"))
        self._binaries = binaries
        self._prefix = self._other_user()
        self._numbers = itertools.count(1)
        self._run(
            "initdb", "--pgdata", self.data, "--auth", "trust", "--username", "weir", "--no-sync", "--encoding", "UTF8"
        )
        settings = " ".join(f"-c {name}='{value}'" for name, value in OPTIONS.items())
        settings += f" -c unix_socket_directories='{self.folder}'"
        self._run("pg_ctl", "--pgdata", self.data, "--wait", "--log", f"{self.folder}/log", "-o", settings, "start")

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
        self._run("pg_ctl", "--pgdata", self.data, "--wait", "--mode", "immediate", "stop")
        shutil.rmtree(self.folder)

    def restart(self) -> None:
        """Stops and starts it, cutting every connection."""
        self._run(
            "pg_ctl", "--pgdata", self.data, "--wait", "--mode", "immediate", "--log", f"{self.folder}/log", "restart"
        )

    def _other_user(self) -> list[str]:
        """initdb refuses to run as root: then it runs as `postgres`, who gets the folder."""
        if os.geteuid() != 0:
            return []
        user = pwd.getpwnam("postgres")
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix, str(self._binaries / program), *arguments]
        with open(self.folder / "out", "ab") as out:  # pg_ctl hands its output on to the server: no pipe to wait for
            subprocess.run(command, check=True, stdout=out, stderr=out, cwd=self.folder, timeout=50)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(f"host={self.folder} dbname=postgres user=weir", autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """The server itself, for tests that restart it or count its connections."""
    binaries = programs()
    if binaries is None:
        pytest.skip("no PostgreSQL programs (initdb, pg_ctl) on this machine")
    cluster = Cluster(binaries)
    yield cluster
    cluster.stop()


@pytest.fixture
def postgres_url(postgres_cluster: Cluster) -> Iterator[str]:
    """The address of an empty database that no other test sees."""
    name = postgres_cluster.create()
    yield postgres_cluster.url(name)
    postgres_cluster.drop(name)
