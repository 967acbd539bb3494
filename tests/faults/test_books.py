"""The books balance after a mixed load: what the callers saw, the rows, the sums and the metrics say the same.

`WEIR_TEST_CALLS=10000` makes it a long test.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from store.engine import read_only
from store.verify import verify
from tests.plugins.rawhttp import Connection, Headers, read_answer, request
from tests.plugins.simulator import Simulator
from tests.plugins.weir import Weir, running

CALLS = int(os.environ.get("WEIR_TEST_CALLS", "400"))
CALLERS = 8
CHAT = "/v1/chat/completions"
KINDS = {
    "whole": 30,
    "stream": 30,
    "no usage": 5,
    "status": 8,
    "cut": 5,
    "reset": 4,
    "error event": 4,
    "garbage": 3,
    "hang up": 6,
    "unknown upstream": 3,
    "bad target": 2,
}
FAULTS = {
    "no usage": "no-usage",
    "status": "status=429",
    "cut": "cut-after=2",
    "reset": "reset-after=2",
    "error event": "error-event-after=2",
    "garbage": "garbage",
}


class Caller(threading.Thread):
    """Makes calls of all kinds, and keeps the id of each that got an answer."""

    def __init__(self, weir: Weir, seed: int) -> None:
        super().__init__()
        self._weir = weir
        self._rng = random.Random(seed)
        self.ids: list[str] = []
        self.kinds: Counter[str] = Counter()

    def run(self) -> None:
        for number in range(CALLS // CALLERS):
            (kind,) = self._rng.choices(list(KINDS), list(KINDS.values()))
            self.kinds[kind] += 1
            call_id = self._call(kind, f"s-{self._rng.randrange(20)}", number)
            if call_id:
                self.ids.append(call_id)

    def _call(self, kind: str, session: str, number: int) -> str | None:
        headers: Headers = [(b"Authorization", b"Bearer k%d" % (number % 3)), (b"x-weir-session", session.encode())]
        if number % 4 == 0:
            headers.append((b"x-weir-project", b"search"))
        if kind in FAULTS:
            headers.append((b"x-sim-fault", FAULTS[kind].encode()))
        if kind == "hang up":
            headers.append((b"x-sim-gap-ms", b"20"))
        target = {"unknown upstream": "/nowhere/x", "bad target": "/openai/../x"}.get(kind, f"/openai{CHAT}")
        stream = kind != "whole" and kind != "status"
        asked = {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": f"hello {number}"}]}
        if stream and number % 2:
            asked["stream_options"] = {"include_usage": True}
        headers.append((b"Content-Type", b"application/json"))
        with Connection(self._weir.proxy_port, timeout=30) as client:
            client.send(request("POST", target, headers, json.dumps(asked).encode()))
            if kind == "hang up":
                return self._hang_up(client)
            return read_answer(client.reader, b"POST").value("x-weir-call-id")

    def _hang_up(self, client: Connection) -> str | None:
        time.sleep(self._rng.random() * 0.1)
        client.plug.settimeout(0.001)
        try:
            seen = client.plug.recv(65_536)
        except TimeoutError:
            seen = b""
        if self._rng.random() < 0.5:
            client.plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        return _call_id(seen)


def _call_id(seen: bytes) -> str | None:
    return seen.partition(b"x-weir-call-id: ")[2][:36].decode() or None


def metric(text: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def by(values: dict[tuple[tuple[str, str], ...], float], label: str) -> Counter[str]:
    """The values summed over all labels but one."""
    sums: Counter[str] = Counter()
    for labels, value in values.items():
        sums[dict(labels)[label]] += round(value)
    return +sums


@pytest.mark.timeout(60 + CALLS // 4)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_books(store: str, simulator: Simulator, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Rows = calls made, sums = rows, Prometheus = SQL, and the check of the books finds nothing."""
    url = request.getfixturevalue("postgres_url") if store == "postgresql" else ""
    with running(tmp_path, {"openai": f"{simulator.url}/openai"}, store=url, proxy={"workers": 2}) as weir:
        callers = [Caller(weir, seed) for seed in range(CALLERS)]
        begun = time.monotonic()
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        took = time.monotonic() - begun
        made = sum((caller.kinds for caller in callers), Counter())
        ids = [call_id for caller in callers for call_id in caller.ids]
        assert len(set(ids)) == len(ids)
        # A caller that hangs up before its request has been accepted made no call.
        weir.wait_for_rows(made.total() - made["hang up"], timeout=60)
        weir.wait(lambda: _settled(weir), timeout=60)
        rows = weir.rows()
        outcomes = Counter(row["outcome"] for row in rows)
        print(f"{store}: {made.total()} calls in {took:.1f} s, {len(rows)} rows: {dict(outcomes)}")

        counts = Counter(str(row["call_id"]) for row in rows)
        assert set(counts.values()) == {1}
        assert not set(ids) - set(counts)
        assert made.total() - made["hang up"] <= len(rows) <= made.total()
        assert outcomes["rejected"] == made["unknown upstream"] + made["bad target"]
        assert outcomes["upstream_error"] == made["status"]
        assert outcomes["stream_error"] == made["error event"]
        assert outcomes["upstream_cut"] == made["cut"] + made["reset"]
        assert outcomes["upstream_unreachable"] == made["garbage"]
        assert not outcomes.keys() & {"interrupted", "weir_fault", "timeout"}

        weir.wait(lambda: sum(metric(weir.metrics(), "weir_records_committed_total").values()) == len(rows))
        text = weir.metrics()
        assert by(metric(text, "weir_calls_total"), "outcome") == outcomes
        assert sum(metric(text, "weir_records_committed_total").values()) == len(rows)
        assert sum(metric(text, "weir_records_dropped_total").values()) == 0
        tokens = sum(row["input_tokens"] or 0 for row in rows) + sum(row["output_tokens"] or 0 for row in rows)
        assert round(sum(metric(text, "weir_tokens_total").values())) == tokens
        cost = sum(float(row["cost_usd"] or 0) for row in rows)
        assert sum(metric(text, "weir_cost_usd_total").values()) == pytest.approx(cost, abs=1e-8)

        hourly = weir.rows(view="hourly_usage")
        assert sum(row["calls"] for row in hourly) == len(rows)
        assert sum(row["input_tokens"] for row in hourly) == sum(row["input_tokens"] or 0 for row in rows)
        weir.stop()
    with read_only(url or f"sqlite:///{weir.database}") as connection:
        report = verify(connection)
    assert report.findings == []
    assert report.calls == len(rows)
    assert (report.in_flight, report.noted) == (0, {})


def _settled(weir: Weir) -> bool:
    """Nothing is in flight and nothing waits: all that was forwarded is committed."""
    text = weir.metrics()
    pending = sum(metric(text, "weir_records_pending").values())
    inflight = sum(metric(text, "weir_inflight_calls").values())
    return not pending and not inflight
