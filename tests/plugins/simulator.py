"""The simulated provider as a process of its own, one for the whole run of tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


class Simulator:
    """A running simulator. Tests share it: find your own calls by an `x-sim-tag` of your own."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def ledger(self, tag: str | None = None) -> list[dict[str, Any]]:
        """What it answered, all of it or the calls with this tag."""
        rows: list[dict[str, Any]] = httpx.get(f"{self.url}/__sim/ledger", trust_env=False).json()
        return [row for row in rows if tag is None or row["tag"] == tag]


@contextmanager
def simulating(seed: int = 0) -> Iterator[Simulator]:
    """A simulator for as long as the block runs."""
    command = [sys.executable, "-m", "proxy.simulator", "--port", "0", "--seed", str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Simulator(process.stdout.readline().split()[-1])
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    with simulating() as running:
        yield running
