"""The table of metrics: names and buckets as Prometheus and OpenTelemetry want them."""

from __future__ import annotations

import pytest

from proxy.recording.table import CAPS, DURATION_EDGES, TABLE, TOKEN_EDGES, Metric

OTEL_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
OTEL_TOKENS = tuple(4**power for power in range(2, 11))
FORBIDDEN = {"session", "session_id", "user", "user_id", "key", "key_id", "call_id", "request", "path", "url", "status"}


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_names_and_labels_follow_the_rules(metric: Metric) -> None:
    assert metric.name.startswith("weir_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.help.endswith(".")
    assert not FORBIDDEN & set(metric.labels)
    assert list(metric.edges) == sorted(set(metric.edges))
    assert bool(metric.edges) == (metric.kind == "histogram")
    if metric.kind == "histogram":
        assert "project" not in metric.labels, "fifty projects would make each bucket fifty series"


@pytest.mark.parametrize("metric", [metric for metric in TABLE if metric.edges], ids=lambda metric: metric.name)
def test_edges_are_whole_in_the_unit_that_is_counted(metric: Metric) -> None:
    for edge in metric.edges:
        assert round(edge * metric.unit) == pytest.approx(edge * metric.unit)
        assert round(edge * metric.unit) / metric.unit == edge


def test_edges_contain_opentelemetrys() -> None:
    assert set(OTEL_DURATION) <= set(DURATION_EDGES)
    assert set(OTEL_TOKENS) - {4_194_304} <= set(TOKEN_EDGES) | {4}


def test_each_label_that_takes_outside_words_has_a_cap() -> None:
    """Type, source, label and version are words of our own."""
    labels = {label for metric in TABLE for label in metric.labels}
    assert labels - CAPS.keys() == {"type", "source", "label", "version"}
