"""The exposition: valid, bounded, exact, and free of what must not be in it."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from proxy.metrics import Levels, Metrics
from proxy.recording.table import CAPS, DROP_REASONS, TABLE
from store.record import CallRecord, CostSource, Outcome, UsageSource
from tests.proxy.recording.samples import make_call, make_reading, make_record

PRICED = {"cost_nusd": 61_000, "cost_source": CostSource.OVERRIDE}
OM = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), version="1.2.3")


def samples(metrics: Metrics, name: str) -> list[tuple[dict[str, str], float]]:
    text = metrics.render()[0].decode()
    return [(one.labels, one.value) for family in parse_text(text) for one in family.samples if one.name == name]


def total(metrics: Metrics, name: str, **labels: str) -> float:
    return sum(value for found, value in samples(metrics, name) if labels.items() <= found.items())


def record(seq: int = 1, *, call: dict[str, Any] | None = None, **reading: Any) -> CallRecord:
    return make_record(make_call(seq, **(call or {})), make_reading(**reading), **PRICED)


def populate(metrics: Metrics, records: Iterable[CallRecord]) -> None:
    for one in records:
        metrics.begun(one.call.provider)
        metrics.observe(one, begun=True)
        metrics.committed(1, written=1)


def test_one_call_adds_what_it_says(metrics: Metrics) -> None:
    populate(metrics, [record(cache_read_tokens=2, reasoning_tokens=20, inter_token_us=1)])
    whose = {"provider": "openai", "model": "gpt-3.5-turbo"}
    assert samples(metrics, "weir_calls_total") == [
        ({**whose, "operation": "chat", "project": "search", "outcome": "ok"}, 1)
    ]
    tokens = {found["type"]: value for found, value in samples(metrics, "weir_tokens_total")}
    assert tokens == {
        "input_uncached": 4,
        "input_cache_read": 2,
        "input_cache_write": 0,
        "output_response": 6,
        "output_reasoning": 20,
    }
    assert samples(metrics, "weir_cost_usd_total") == [({**whose, "project": "search"}, 0.000061)]
    assert samples(metrics, "weir_usage_total") == [({**whose, "source": "provider"}, 1)]
    assert total(metrics, "weir_call_duration_seconds_sum", outcome="ok") == 1.3
    assert total(metrics, "weir_time_to_first_token_seconds_sum") == 0.3
    assert total(metrics, "weir_time_per_output_token_seconds_sum") == 0.04
    assert total(metrics, "weir_proxy_overhead_seconds_sum") == 0.0004
    assert total(metrics, "weir_call_input_tokens_sum") == 6
    assert total(metrics, "weir_unpriced_calls_total") == 0


@pytest.mark.parametrize("accept", ["", OM])
def test_promtool_finds_nothing_to_say(metrics: Metrics, accept: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    populate(metrics, (record(seq, outcome=outcome) for seq, outcome in enumerate(Outcome)))
    body, content_type = metrics.render(accept)
    assert content_type == (accept or "text/plain; version=0.0.4; charset=utf-8")
    if accept:
        assert list(parse_openmetrics(body.decode())), "promtool 2 does not read OpenMetrics: the reference parser does"
        return
    found = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, timeout=30, check=False)
    assert (found.returncode, found.stdout + found.stderr) == (0, b"")


def test_every_metric_of_the_table_is_there_and_no_other(metrics: Metrics) -> None:
    populate(metrics, [record(meter_fault="x"), make_record(reading=make_reading(request_model="free"))])
    families = [family.name for family in parse_text(metrics.render()[0].decode())]
    ours = [name for name in families if name.startswith("weir_")]
    assert ours == [metric.name.removesuffix("_total") for metric in TABLE]
    assert {"process_resident_memory_bytes", "python_gc_collections"} <= set(families)
    assert not [name for name in families if name.endswith("_created")]


def test_what_panels_need_is_there_from_the_start(metrics: Metrics) -> None:
    assert {found["reason"]: value for found, value in samples(metrics, "weir_records_dropped_total")} == dict.fromkeys(
        DROP_REASONS, 0
    )
    assert len(samples(metrics, "weir_label_overflow_total")) == len(CAPS)
    for name in ("weir_calls_forwarded_total", "weir_records_pending", "weir_proxy_overhead_seconds_count"):
        assert samples(metrics, name) == [({}, 0)]
    assert samples(metrics, "weir_build_info") == [({"version": "1.2.3"}, 1)]


def test_a_client_cannot_make_series_by_sending_names(metrics: Metrics) -> None:
    for number in range(3000):
        refused = make_reading(
            request_model=f"made-up-{number}", response_model=None, http_status=404, outcome=Outcome.UPSTREAM_ERROR
        )
        metrics.observe(make_record(make_call(project=f"p{number}"), refused), begun=False)
    assert {found["model"] for found, _ in samples(metrics, "weir_calls_total")} == {"other"}
    assert total(metrics, "weir_calls_total") == 3000


def test_caps_hold_against_every_name_at_once_and_totals_stay_exact(metrics: Metrics) -> None:
    """100,000 names for each label would be fatal; here 3,000 of each, all answered 2xx."""
    chance = random.Random(5)
    for number in range(3000):
        call = make_call(
            provider=f"provider-{number}",
            project=f"project-{number}",
            operation=f"operation-{number}",
            wire_format=f"format-{number}",
            session_id=f"session-{number}",
        )
        reading = make_reading(request_model=f"model-{chance.random()}", meter_fault="x")
        populate(metrics, [make_record(call, reading, cost_nusd=1, cost_source=CostSource.OVERRIDE)])
    body = metrics.render()[0].decode()
    assert len(body.splitlines()) < 30_000
    calls = samples(metrics, "weir_calls_total")
    for label in ("provider", "model", "project", "operation"):
        assert len({found[label] for found, _ in calls}) <= CAPS[label] + 1
    assert total(metrics, "weir_calls_total") == 3000
    assert total(metrics, "weir_tokens_total") == 3000 * 32
    assert round(total(metrics, "weir_cost_usd_total") * 1e9) == 3000
    for label in ("provider", "model", "project", "operation", "wire_format"):
        assert total(metrics, "weir_label_overflow_total", label=label) > 0
    assert "session-" not in body


def test_a_model_gets_its_name_once_somebody_answered_for_it(metrics: Metrics) -> None:
    failed = {"outcome": Outcome.UPSTREAM_ERROR, "http_status": 429, "request_model": "gpt-4o"}
    metrics.observe(make_record(reading=make_reading(**failed)), begun=False)
    metrics.observe(make_record(reading=make_reading(request_model="gpt-4o")), begun=False)
    metrics.observe(make_record(reading=make_reading(**failed)), begun=False)
    by_model = {(found["model"], found["outcome"]): value for found, value in samples(metrics, "weir_calls_total")}
    assert by_model == {("other", "upstream_error"): 1, ("gpt-4o", "ok"): 1, ("gpt-4o", "upstream_error"): 1}


def test_a_priced_model_is_known_without_an_answer(metrics: Metrics) -> None:
    metrics.observe(record(http_status=None, outcome=Outcome.UPSTREAM_CUT), begun=False)
    assert samples(metrics, "weir_calls_total")[0][0]["model"] == "gpt-3.5-turbo"


def test_what_is_not_named_is_none_and_what_is_not_known_is_absent(metrics: Metrics) -> None:
    nothing = make_reading(
        request_model=None,
        response_model=None,
        input_tokens=None,
        output_tokens=None,
        duration_us=None,
        ttft_us=None,
        overhead_us=None,
        usage_source=UsageSource.NONE,
    )
    metrics.observe(make_record(make_call(project="", operation="", provider=""), nothing), begun=False)
    assert samples(metrics, "weir_calls_total")[0][0] == {
        "provider": "none",
        "model": "none",
        "operation": "none",
        "project": "none",
        "outcome": "ok",
    }
    for name in ("weir_tokens_total", "weir_call_duration_seconds_count", "weir_unpriced_calls_total"):
        assert samples(metrics, name) == []


def test_unpriced_means_tokens_without_a_price(metrics: Metrics) -> None:
    metrics.observe(make_record(), begun=False)
    metrics.observe(make_record(reading=make_reading(input_tokens=None, output_tokens=None)), begun=False)
    metrics.observe(record(), begun=False)
    assert total(metrics, "weir_unpriced_calls_total") == 1


def test_openmetrics_leads_from_a_number_to_a_session(metrics: Metrics) -> None:
    populate(metrics, [record(7)])
    families = {family.name: family for family in parse_openmetrics(metrics.render(OM)[0].decode())}
    for name in ("weir_call_duration_seconds", "weir_time_to_first_token_seconds", "weir_cost_usd"):
        found = [one.exemplar for one in families[name].samples if one.exemplar]
        assert [one.labels for one in found] == [{"call_id": make_call(7).call_id, "session_id": "session-2"}]
        assert float(found[0].timestamp) == 1_795_000_001.307
    assert "call_id" not in metrics.render()[0].decode(), "text 0.0.4 has no exemplars"


@settings(deadline=None, max_examples=40)
@given(st.text(st.characters(codec=None, categories=None), max_size=150))
def test_any_session_name_leaves_the_exposition_whole(session: str) -> None:
    metrics = Metrics(CollectorRegistry())
    populate(metrics, [record(call={"session_id": session})])
    body = metrics.render(OM)[0].decode()
    assert list(parse_openmetrics(body))
    for family in parse_openmetrics(body):
        for one in family.samples:
            if one.exemplar:
                assert sum(len(key) + len(value) for key, value in one.exemplar.labels.items()) <= 128


@settings(deadline=None, max_examples=40)
@given(st.text(st.characters(codec=None, categories=None), max_size=250))
def test_any_model_name_leaves_the_exposition_whole(name: str) -> None:
    metrics = Metrics(CollectorRegistry())
    populate(metrics, [record(request_model=name, call={"project": name})])
    assert total(metrics, "weir_calls_total") == 1
    assert list(parse_openmetrics(metrics.render(OM)[0].decode()))


def test_gauges_are_measured_at_the_scrape() -> None:
    now = Levels(queue_depth=3, queue_capacity=10, lag_seconds=0.5, workers=2, store_up=True, price_errors=4)
    metrics = Metrics(CollectorRegistry(), levels=lambda: now)
    assert total(metrics, "weir_recorder_queue_depth") == 3
    assert total(metrics, "weir_workers") == 2
    assert total(metrics, "weir_store_up") == 1
    assert total(metrics, "weir_price_errors_total") == 4
    now.workers = 0
    assert total(metrics, "weir_workers") == 0


def test_updates_while_rendering_lose_nothing(metrics: Metrics) -> None:
    records = [record(seq, call={"provider": f"p{seq % 15}"}) for seq in range(2000)]
    threads = [threading.Thread(target=populate, args=(metrics, records)) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for line in metrics.render()[0].decode().splitlines():
            assert line
    assert total(metrics, "weir_calls_total") == 4000
    assert total(metrics, "weir_records_pending") == total(metrics, "weir_inflight_calls") == 0
