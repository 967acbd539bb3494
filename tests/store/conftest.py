"""Both databases for every test that asks for `store_url` or `ledger`, and records to put into them."""

from __future__ import annotations

import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from store import migrate
from store.ledger import Ledger
from store.record import CALL_FIELDS, COST_FIELDS, Call, CallRecord, Cost, Reading
from tests.plugins.postgres import Cluster

START = 1_790_000_000_000_000
"""2026-09-21 14:13:20 UTC, in microseconds."""
HOUR = 3_600_000_000

Make = Callable[..., CallRecord]
Seed = Callable[..., list[CallRecord]]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that nothing has been done to."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/weir.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file that is up to date and empty, to copy."""
    path = tmp_path_factory.mktemp("template") / "weir.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_cluster: Cluster) -> str:
    """A PostgreSQL database that is up to date and empty but for its months, to copy."""
    name = postgres_cluster.create()
    migrate.upgrade(postgres_cluster.url(name))
    ledger = Ledger(postgres_cluster.url(name))
    ledger.ensure_partitions(START)
    ledger.dispose()
    return name


@pytest.fixture
def sqlite_store(sqlite_template: Path, tmp_path: Path) -> str:
    """The address of a SQLite store that is up to date and empty."""
    shutil.copy(sqlite_template, tmp_path / "weir.db")
    return f"sqlite:///{tmp_path}/weir.db"


@pytest.fixture
def postgres_store(postgres_cluster: Cluster, postgres_template: str) -> Iterator[str]:
    """The address of a PostgreSQL store that is up to date and empty."""
    name = postgres_cluster.create(postgres_template)
    yield postgres_cluster.url(name)
    postgres_cluster.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The address of a store that is up to date and empty."""
    url: str = request.getfixturevalue({"sqlite": "sqlite_store", "postgresql": "postgres_store"}[request.param])
    return url


@pytest.fixture
def ledger(store_url: str) -> Iterator[Ledger]:
    """A ledger on that store."""
    yield from _opened(store_url)


@pytest.fixture
def both(sqlite_store: str, postgres_store: str) -> Iterator[tuple[Ledger, Ledger]]:
    """A ledger on SQLite and one on PostgreSQL, to compare."""
    first, second = _opened(sqlite_store), _opened(postgres_store)
    yield next(first), next(second)
    for rest in (first, second):
        next(rest, None)


def _opened(url: str) -> Iterator[Ledger]:
    ledger = Ledger(url)
    yield ledger
    ledger.dispose()


@pytest.fixture
def make() -> Make:
    """Makes a record; each has the next number of its boot. Keywords are fields of any of its three parts."""
    numbers: dict[str, int] = {}

    def record(**given: Any) -> CallRecord:
        boot_id = given.setdefault("boot_id", "b" * 32)
        numbers[boot_id] = given.setdefault("seq", numbers.get(boot_id, 0) + 1)
        values = {
            "started_at": START + given["seq"] * 1_000_000,
            "call_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{boot_id}/{given['seq']}")),
            "method": "POST",
            "path": "/v1/chat/completions",
            "outcome": "ok",
            **given,
        }
        values.setdefault("session_id", values["call_id"])
        call = {name: values.pop(name) for name in CALL_FIELDS if name in values}
        cost = {name: values.pop(name) for name in COST_FIELDS if name in values}
        return CallRecord(Call(**call), Reading(**values), Cost(**cost))

    return record


@pytest.fixture
def seed(make: Make) -> Seed:
    """Makes `count` records like those of a busy week, the same ones for the same number."""

    def records(count: int, *, number: int = 1, boot_id: str = "a" * 32, spread: int = 30 * HOUR) -> list[CallRecord]:
        draw = random.Random(number)
        found = [make(boot_id=boot_id, seq=n + 1, **_values(draw, spread)) for n in range(count)]
        for record in found:
            if record.call.session_source == "none":
                record.call.session_id = record.call.call_id
        return found

    return records


def _values(draw: random.Random, spread: int) -> dict[str, Any]:
    session = draw.choice(["", "", "s-1", "s-2", "s-3", "sitzung ü"])
    values: dict[str, Any] = {
        "started_at": START + draw.randrange(spread),
        "project": draw.choice(["", "search", "chat", "übung"]),
        "upstream": draw.choice(["openai", "anthropic", ""]),
        "provider": draw.choice(["openai", "anthropic", ""]),
        "operation": draw.choice(["chat", "chat", "embeddings", ""]),
        "wire_format": "openai.chat",
        "request_model": draw.choice(["gpt-4o", "gpt-4o-mini", "claude", None]),
        "user_id": draw.choice(["", "u1", "u2"]),
        "key_id": draw.choice(["", "k-0123456789abcdef"]),
        "outcome": draw.choice(["ok"] * 6 + ["upstream_error", "client_closed", "timeout", "rejected"]),
        "http_status": draw.choice([200, 429, None]),
        "error_type": draw.choice([None, "rate_limit"]),
        "stream": draw.choice([True, False, None]),
        "tags": draw.choice([None, {"team": "a"}]),
        **_amounts(draw),
    }
    return values | {"session_id": session or "-", "session_source": "header" if session else "none"}


def _amounts(draw: random.Random) -> dict[str, Any]:
    duration = draw.randrange(1_000, 60_000_000)
    times: dict[str, Any] = {
        "duration_us": duration,
        "overhead_us": draw.randrange(0, 900),
        "chunks": draw.randrange(99),
    }
    if draw.random() < 0.7:
        times |= {"ttft_us": duration // 3, "first_chunk_us": duration // 4, "inter_token_us": duration // 100}
    if draw.random() < 0.2:
        return times
    tokens = {"input_tokens": draw.randrange(9_000), "output_tokens": draw.randrange(5_000)}
    tokens |= {"cache_read_tokens": tokens["input_tokens"] // 2, "reasoning_tokens": tokens["output_tokens"] // 3}
    source = draw.choice(["provider", "provider", "estimated"])
    raw = {"prompt_tokens": tokens["input_tokens"], "details": {"ratio": 0.5, "name": "ü"}}
    priced = {"cost_nusd": draw.randrange(10**9), "cost_source": "catalogue", "price_id": "book"}
    return times | tokens | {"usage_source": source, "raw_usage": raw} | (priced if draw.random() < 0.8 else {})
