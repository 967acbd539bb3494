"""Mixed traffic, faults included: the simulator's ledger, the rows, the sums and the metrics tell the same story."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.plugins.simulator import Simulator, simulating
from tests.plugins.weir import ROOT, Row, Weir, running

CALLS = 240
CALLERS = 8
HELLO = [{"role": "user", "content": "What is a weir?"}]
OPENAI = {"model": "gpt-4o", "messages": HELLO}
REQUESTS: list[tuple[str, Any]] = [
    ("/openai/v1/chat/completions", OPENAI),
    ("/openai/v1/chat/completions", {**OPENAI, "stream": True}),
    ("/openai/v1/chat/completions", {**OPENAI, "stream": True, "stream_options": {"include_usage": True}}),
    ("/openai/v1/responses", {"model": "gpt-4.1", "input": "hi", "stream": True}),
    ("/openai/v1/embeddings", {"model": "text-embedding-3-small", "input": "hi"}),
    ("/anthropic/v1/messages", {"model": "claude-sonnet-4-6", "messages": HELLO, "max_tokens": 100}),
    ("/anthropic/v1/messages", {"model": "claude-sonnet-4-6", "messages": HELLO, "max_tokens": 100, "stream": True}),
    ("/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent", {"contents": [{"parts": [{"text": "hi"}]}]}),
    ("/ollama/api/chat", {"model": "llama3.2", "messages": HELLO}),
]
FAULTS = [
    *([""] * 12),
    "status=429",
    "status=500",
    "cut-after=2",
    "reset-after=2",
    "error-event-after=2",
    "reset",
    "garbage",
]
OUTCOMES = {
    "": {"ok"},
    "status": {"upstream_error"},
    "cut-after": {"upstream_cut"},
    "reset-after": {"upstream_cut"},
    # A document has no events to break: the simulator cuts it.
    "error-event-after": {"stream_error", "upstream_cut"},
    "reset": {"upstream_cut", "upstream_unreachable"},
    "garbage": {"upstream_unreachable"},
}


@dataclass
class Told:
    """All that was written down about the traffic, and how each call was steered."""

    weir: Weir
    entries: dict[str, Row]
    rows: dict[str, Row]
    faults: dict[str, str]


def call(client: httpx.Client, number: int) -> tuple[str, str]:
    """One call, steered by its number alone; its tag is also its session."""
    rng = random.Random(number)
    target, body = rng.choice(REQUESTS)
    fault, tag = rng.choice(FAULTS), uuid.uuid4().hex
    headers = {"x-sim-tag": tag, "x-weir-session": tag, "x-weir-project": "books", "x-sim-gap-ms": "1"}
    headers |= {"x-sim-fault": fault} if fault else {}
    try:
        client.post(target, json=body, headers=headers)
    except httpx.RemoteProtocolError:
        assert fault.startswith(("cut", "reset", "error"))
    return tag, fault


def tell(simulator: Simulator, weir: Weir) -> Told:
    client = httpx.Client(base_url=weir.url, trust_env=False, timeout=20)
    with client, ThreadPoolExecutor(CALLERS) as callers:
        faults = dict(callers.map(lambda number: call(client, number), range(CALLS)))
    rows = weir.wait_for_rows(CALLS, timeout=30)
    return Told(weir, {e["tag"]: e for e in simulator.ledger()}, {row["session_id"]: row for row in rows}, faults)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    with simulating() as simulator:
        names = ("openai", "anthropic", "gemini", "ollama")
        upstreams = {name: f"{simulator.url}/{name}" for name in names}
        with running(tmp_path_factory.mktemp("books"), upstreams) as weir:
            yield tell(simulator, weir)


def test_one_row_for_each_call(told: Told) -> None:
    assert len(told.faults) == CALLS
    assert set(told.rows) == set(told.entries) == set(told.faults)
    assert len(told.weir.rows()) == CALLS


def test_each_outcome_is_what_was_done(told: Told) -> None:
    wrong = {
        tag: (fault, told.rows[tag]["outcome"], told.rows[tag]["wire_format"], told.rows[tag]["stream"])
        for tag, fault in told.faults.items()
        if told.rows[tag]["outcome"] not in OUTCOMES[fault.partition("=")[0]]
    }
    assert wrong == {}


def test_each_number_is_the_simulators(told: Told) -> None:
    def numbers(row: Row) -> tuple[Any, Any]:
        return row["input_tokens"], row["output_tokens"] or None

    good = [tag for tag, fault in told.faults.items() if not fault and told.entries[tag]["usage_sent"]]
    assert len(good) > CALLS / 3
    assert {tag: numbers(told.rows[tag]) for tag in good} == {tag: numbers(told.entries[tag]) for tag in good}


def test_what_failed_before_it_began_has_no_numbers(told: Told) -> None:
    failed = [row for row in told.rows.values() if row["outcome"] in ("upstream_error", "upstream_unreachable")]
    assert failed
    assert {(row["input_tokens"], row["output_tokens"], row["cost_usd"]) for row in failed} == {(None, None, None)}


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    found = re.findall(rf"^{name}{{(.*?)}} (\S+)", text, re.MULTILINE)
    return [(dict(re.findall(r'(\w+)="(.*?)"', labels)), float(value)) for labels, value in found]


def test_metrics_are_the_rows(told: Told) -> None:
    text = told.weir.metrics()
    counted: Counter[tuple[str, str]] = Counter()
    for labels, value in samples(text, "weir_calls_total"):
        counted[labels["provider"], labels["outcome"]] += int(value)
    assert +counted == Counter((row["provider"], row["outcome"]) for row in told.rows.values())
    tokens = sum(value for _, value in samples(text, "weir_tokens_total"))
    assert tokens == sum((row["input_tokens"] or 0) + (row["output_tokens"] or 0) for row in told.rows.values())


def test_rollups_are_the_rows(told: Told) -> None:
    sums = told.weir.rows(view="daily_usage")
    assert sum(row["calls"] for row in sums) == CALLS
    for column in ("input_tokens", "output_tokens"):
        assert sum(row[column] or 0 for row in sums) == sum(row[column] or 0 for row in told.rows.values())


def test_verify_finds_the_books_in_order(told: Told) -> None:
    command = [sys.executable, "-m", "proxy", "verify", "--config", str(told.weir.config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
