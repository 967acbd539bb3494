"""A store of each kind with a few known calls in it, and `weir` run in this process as a shell would run it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.app import run as run_weir
from store.ledger import Ledger
from store.migrate import upgrade
from store.record import Call, CallRecord, Cost, Reading

NOW = datetime.now(UTC).replace(microsecond=0)
BOOT = "b" * 32
SECOND = 1_000_000


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


def call_id(seq: int) -> str:
    return f"0199a3f0-7c1e-7d55-8f2c-{seq:012x}"


def record(seq: int, ago: timedelta, **values: object) -> CallRecord:
    """A priced OpenAI call of 100 + 50 tokens for a thousandth of a dollar; `values` change its fields."""
    parts: dict[type, dict[str, object]] = {Call: {}, Reading: {}, Cost: {}}
    for name, value in values.items():
        part = next(part for part in parts if name in part.__dataclass_fields__)  # type: ignore[attr-defined]
        parts[part][name] = value
    call = {"upstream": "openai", "provider": "openai", "operation": "chat", "wire_format": "openai.chat"}
    reading = {
        "outcome": "ok",
        "http_status": 200,
        "request_model": "gpt-4o",
        "stream": True,
        "usage_source": "provider",
    }
    tokens = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}
    times = {"duration_us": 2 * SECOND, "ttft_us": 300_000, "first_chunk_us": 250_000, "overhead_us": 400}
    started = int((NOW - ago).timestamp() * SECOND)
    named = {"session_id": call_id(seq), "method": "POST", "path": "/v1/chat/completions"}
    return CallRecord(
        Call(
            **{
                "call_id": call_id(seq),
                "boot_id": BOOT,
                "seq": seq,
                "started_at": started,
                **named,
                **call,
                **parts[Call],
            }
        ),  # type: ignore[arg-type]
        Reading(**{**reading, **tokens, **times, **parts[Reading]}),  # type: ignore[arg-type]
        Cost(**{"cost_nusd": 1_000_000, "cost_source": "catalogue", "price_id": "book openai/gpt-4o", **parts[Cost]}),  # type: ignore[arg-type]
    )


def seeded() -> list[CallRecord]:
    minute, nothing = timedelta(minutes=1), {"input_tokens": None, "output_tokens": None, "total_tokens": None}
    chat = {"session_id": "chat-17", "session_source": "header", "project": "search", "user_id": "ann"}
    return [
        record(1, 3 * minute, **chat),
        record(2, 2 * minute, **chat, cost_nusd=3_000_000, tags={"team": "blue"}, raw_usage={"prompt_tokens": 100}),
        record(3, 5 * minute, request_model="llama", upstream="ktransformers", provider="ktransformers",
               cost_nusd=None, cost_source="none", price_id=None, usage_source="estimated"),
        record(4, minute, **nothing, outcome="upstream_error", http_status=429, error_type="rate_limit_exceeded",
               usage_source="none", cost_nusd=None, cost_source="none", price_id=None, stream=False, ttft_us=None),
        record(5, timedelta(days=3), session_id="old=1;\x1b[31m", session_source="path", cost_nusd=9_000_000),
        record(6, timedelta(days=40), cost_nusd=500_000_000),
        record(7, timedelta(days=50), **nothing, usage_source="none", cost_nusd=None, cost_source="none",
               price_id=None),
    ]  # fmt: skip


def fill(url: str) -> str:
    upgrade(url)
    ledger = Ledger(url)
    ledger.ensure_partitions(int(NOW.timestamp() * SECOND))
    ledger.insert(seeded())
    ledger.dispose()
    return url


@pytest.fixture(scope="session")
def sqlite_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fill(f"sqlite:///{tmp_path_factory.mktemp('cli') / 'weir.db'}")


@pytest.fixture(scope="session")
def postgres_store(postgres_cluster: Any) -> str:
    return fill(postgres_cluster.url(postgres_cluster.create()))


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> str:
    """A filled store that no test changes."""
    return str(request.getfixturevalue("sqlite_store" if request.param == "sqlite" else "postgres_store"))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weir.toml and no WEIR_ variables but the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("COLUMNS", "200")
    for name in [name for name in os.environ if name.startswith("WEIR_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def weir(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*args: str) -> Result:
        capsys.readouterr()
        code = run_weir(args)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Result(code, out, err)

    return run
