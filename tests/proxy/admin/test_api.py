"""The JSON API against a real database: the shapes of `weir … --json`, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from proxy.admin.api import routes
from proxy.admin.app import make_app
from store.engine import read_only
from store.ledger import Ledger
from store.migrate import upgrade
from store.record import CostSource, Outcome
from tests.proxy.admin.serving import Serving
from tests.proxy.admin.test_app import Source
from tests.proxy.recording.samples import make_call, make_reading, make_record

CONTRACT = """
call_id, started_at, session_id, session_source, project, user_id, key_id, upstream, provider, operation, wire_format,
request_model, response_model, model, stream, outcome, http_status, error_type, finish_reason, duration_ms, first_chunk_ms, ttft_ms,
inter_token_ms, tokens_per_second, overhead_ms, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
total_tokens, usage_source, cost_usd, cost_source, chunks, request_bytes, response_bytes, upstream_request_id, trace_id, meter_fault
"""  # noqa: E501 - as people were promised it
COLUMNS = [name.strip() for name in CONTRACT.split(",")]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An admin port over twenty calls in five sessions."""
    url = f"sqlite:///{tmp_path_factory.mktemp('api') / 'weir.db'}"
    upgrade(url)
    ledger = Ledger(url)
    ledger.insert(
        [
            make_record(
                make_call(seq, session_id=f"s/{seq % 5}", user_id=f"u{seq % 2}"),
                make_reading(outcome=Outcome.UPSTREAM_ERROR if seq % 4 == 0 else Outcome.OK),
                cost_nusd=seq * 1000,
                cost_source=CostSource.OVERRIDE,
                price_id="override 1 */*",
            )
            for seq in range(1, 21)
        ]
    )
    ledger.dispose()
    serving = Serving(make_app(Source(), routes=routes(lambda: read_only(url))))
    yield serving.client
    serving.stop()


def test_calls_have_the_columns_of_call_log(client: httpx.Client) -> None:
    found = client.get("/api/calls?limit=3").json()
    assert [list(row) for row in found] == [COLUMNS] * 3
    assert [row["call_id"] for row in found] == [make_call(seq).call_id for seq in (20, 19, 18)]
    assert found[0]["cost_usd"] == 0.00002
    assert found[0]["duration_ms"] == 1300.0
    assert found[0]["started_at"].endswith("Z")


def test_calls_are_paged_and_narrowed(client: httpx.Client) -> None:
    first = client.get("/api/calls?limit=15").json()
    last = first[-1]
    rest = client.get("/api/calls", params={"before": f"{last['started_at']},{last['call_id']}"}).json()
    assert len({row["call_id"] for row in first + rest}) == 20
    later = client.get("/api/calls", params={"after": f"{last['started_at']},{last['call_id']}"}).json()
    assert [row["call_id"] for row in later] == [row["call_id"] for row in first[-2::-1]]
    assert len(client.get("/api/calls?failed=1").json()) == 5
    assert len(client.get("/api/calls?session=s/1").json()) == 4
    assert len(client.get("/api/calls?user_id=u0&outcome=ok").json()) == 5
    assert client.get("/api/calls?since=2030-01-01").json() == []


def test_one_call_has_everything(client: httpx.Client) -> None:
    found = client.get(f"/api/calls/{make_call(7).call_id}").json()
    assert list(found)[: len(COLUMNS)] == COLUMNS
    assert (found["seq"], found["price_id"], found["boot_id"]) == (7, "override 1 */*", "a" * 32)
    for name in ("nothing", make_call(99).call_id):
        missing = client.get(f"/api/calls/{name}")
        assert (missing.status_code, missing.json()["error"]["type"]) == (404, "weir_not_found")


def test_sessions_and_one_of_them(client: httpx.Client) -> None:
    found = client.get("/api/sessions?limit=2").json()
    assert [(row["session_id"], row["calls"]) for row in found] == [("s/0", 4), ("s/4", 4)]
    one = client.get("/api/sessions/s/0").json()
    assert [row["cost_usd"] for row in one["calls"]] == [0.000005, 0.00001, 0.000015, 0.00002]
    assert one["summaries"][0]["calls"] == 4
    assert client.get("/api/sessions/s%2F0").json() == one
    assert client.get("/api/sessions/nobody").status_code == 404


def test_usage_by_whatever_is_asked(client: httpx.Client) -> None:
    by_model = client.get("/api/usage").json()
    assert [(row["model"], row["calls"], row["cost_usd"]) for row in by_model] == [("gpt-3.5-turbo", 20, 0.00021)]
    assert "day" not in by_model[0]
    by_user = client.get("/api/usage?by=user,project").json()
    assert {(row["user_id"], row["project"], row["calls"]) for row in by_user} == {
        ("u0", "search", 10),
        ("u1", "search", 10),
    }
    assert client.get("/api/usage?by=day&tz=Asia/Tokyo").json()[0]["calls"] == 20
    assert client.get("/api/errors").json()[0]["errors"] == 5
    assert {row["metric"] for row in client.get("/api/latency").json()} >= {"duration", "ttft"}


@pytest.mark.parametrize(
    "question",
    [
        "usage?by=colour",
        "usage?tz=Mars/Base",
        "usage?since=whenever",
        "calls?limit=0",
        "calls?limit=many",
        "calls?limit=1000000",
        "calls?before=x",
        "calls?before=x,y",
        "sessions?order=size",
        "calls?project=%00",
        "sessions/%00",
    ],
)
def test_wrong_questions_are_told_so(client: httpx.Client, question: str) -> None:
    answer = client.get(f"/api/{question}")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "weir_bad_request")


@pytest.mark.parametrize("evil", ["' OR 1=1 --", "'; DROP TABLE calls; --", '"', "%", "\\"])
def test_values_are_never_sql(client: httpx.Client, evil: str) -> None:
    assert client.get("/api/calls", params={"session": evil}).json() == []
    assert client.get("/api/sessions", params={"project": evil}).json() == []
    assert len(client.get("/api/calls").json()) == 20


def test_a_store_that_is_away_is_no_fault_of_the_asker(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'nowhere' / 'weir.db'}"
    serving = Serving(make_app(Source(), routes=routes(lambda: read_only(url))))
    answer = serving.client.get("/api/calls")
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "weir_store_unavailable")
    assert "nowhere" not in answer.text
    serving.stop()
