"""Every Prometheus metric of weir, and what one finished call adds to them. The table is `proxy.recording.table`.

Numbers here and in SQL come from the same `CallRecord` and agree to the token and the nano-dollar. Labels are bounded:
a client cannot make a series by sending a name, and past a cap values fold into `other`, so that sums stay exact.
Session, user, key and request are never labels; OpenMetrics exemplars carry `call_id` and `session_id` instead.

Not here: reading journals (`proxy.recording`) and serving (`proxy.admin`). Nothing is registered at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar as OpenMetricsExemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric as Family,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from proxy.recording.parts import TokenParts, token_parts
from proxy.recording.series import Bound, Counter, Distribution, Exemplar, Histogram, Labels
from proxy.recording.table import CAPS, DROP_REASONS, SECONDS, TABLE, Metric
from store.record import CallRecord, CostSource, Outcome, UsageSource

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST


@dataclass(slots=True)
class Levels:
    """What is measured at the moment of a scrape instead of being counted."""

    active_sessions: int = 0
    queue_depth: int = 0
    queue_capacity: int = 0
    lag_seconds: float = 0.0
    journal_bytes: int = 0
    workers: int = 0
    store_up: bool = False
    price_errors: int = 0
    journal_damage: int = 0


class Metrics(Collector):
    """The metrics of one recorder. Updates come from its threads, `render` from any."""

    def __init__(
        self, registry: CollectorRegistry, *, version: str = "", levels: Callable[[], Levels] = Levels
    ) -> None:
        self._registry = registry
        self._levels = levels
        self._lock = Lock()
        self._bounds = {label: Bound(cap) for label, cap in CAPS.items()}
        self._models: dict[tuple[str, str], str] = {}
        self._counters = {metric.name: Counter() for metric in TABLE if metric.kind == "counter"}
        self._histograms = {
            metric.name: Histogram(round(edge * metric.unit) for edge in metric.edges)
            for metric in TABLE
            if metric.kind == "histogram"
        }
        self._inflight: dict[Labels, int] = {}
        self._pending = 0
        self._version = version
        self._begin_at_zero()
        registry.register(self)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

    def measure(self, levels: Callable[[], Levels]) -> None:
        """Names what to ask at each scrape."""
        self._levels = levels

    def begun(self, provider: str) -> None:
        """A call has been forwarded."""
        with self._lock:
            self._begin(provider)

    def lost(self, reason: str, provider: str | None) -> None:
        """A record is lost for good: that of a call in flight, or of one never heard of (provider None)."""
        with self._lock:
            if provider is None:
                self._counters["weir_calls_forwarded_total"].add(())
            else:
                self._end(provider)
                self._pending -= 1
            self._counters["weir_records_dropped_total"].add((self._bounds["reason"].label(reason),))

    def refused(self, count: int) -> None:
        """The store will never take these records."""
        with self._lock:
            self._counters["weir_records_dropped_total"].add(("refused",), count)
            self._pending -= count

    def committed(self, count: int, *, written: int) -> None:
        """`count` records are in the store now, `written` of them by this process."""
        with self._lock:
            self._counters["weir_records_committed_total"].add((), count)
            self._counters["weir_records_written_total"].add((), written)
            self._pending -= count

    def flushed(self, seconds: float) -> None:
        """One transaction took this long."""
        with self._lock:
            self._histograms["weir_recorder_flush_seconds"].observe((), round(seconds * SECONDS))

    def observe(self, record: CallRecord, *, begun: bool) -> None:
        """Everything that one finished call adds; `begun` says whether it has been counted as in flight."""
        with self._lock:
            if not begun:
                self._begin(record.call.provider)
            self._end(record.call.provider)
            self._add(record)

    @property
    def dropped(self) -> int:
        """Records lost for good so far."""
        with self._lock:
            return self._counters["weir_records_dropped_total"].total()

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its content type: OpenMetrics 1.0 where it is asked for, else text 0.0.4."""
        if "application/openmetrics-text" in accept:
            openmetrics_text: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return openmetrics_text, OPENMETRICS
        return generate_latest(self._registry), TEXT

    def collect(self) -> Iterator[Family]:
        """All families, from one consistent snapshot."""
        levels = self._levels()
        with self._lock:
            self._carry_over(levels)
            counters = {name: (dict(one.values), dict(one.exemplars)) for name, one in self._counters.items()}
            histograms = {
                name: (one.edges, {labels: series.copy() for labels, series in one.series.items()})
                for name, one in self._histograms.items()
            }
            gauges = self._gauges(levels)
        for metric in TABLE:
            if metric.kind == "counter":
                yield _counter(metric, *counters[metric.name])
            elif metric.kind == "histogram":
                yield _histogram(metric, *histograms[metric.name])
            else:
                yield _gauge(metric, gauges[metric.name])

    def describe(self) -> Iterable[Family]:
        """Nothing: spares the registry a whole collection at registration."""
        return ()

    def _begin_at_zero(self) -> None:
        for metric in TABLE:
            if not metric.labels and metric.kind == "counter":
                self._counters[metric.name].add((), 0)
            elif not metric.labels and metric.kind == "histogram":
                self._histograms[metric.name].begin(())
        for reason in DROP_REASONS:
            self._counters["weir_records_dropped_total"].add((self._bounds["reason"].label(reason),), 0)

    def _begin(self, provider: str) -> None:
        label = (self._bounds["provider"].label(provider),)
        self._counters["weir_calls_forwarded_total"].add(())
        self._inflight[label] = self._inflight.get(label, 0) + 1
        self._pending += 1

    def _end(self, provider: str) -> None:
        self._inflight[(self._bounds["provider"].label(provider),)] -= 1

    def _add(self, record: CallRecord) -> None:
        call, reading, cost = record.call, record.reading, record.cost
        provider = self._bounds["provider"].label(call.provider)
        model = self._model(provider, record)
        project = self._bounds["project"].label(call.project)
        self._count(record, provider, model, project)
        self._counters["weir_usage_total"].add((provider, model, str(reading.usage_source)))
        parts = token_parts(reading)
        if parts is not None:
            self._count_tokens(parts, (provider, model, project))
            self._measure_tokens(record, (provider, model))
        if cost.cost_nusd is not None:
            self._count_cost(record, (provider, model, project))
        elif parts is not None:
            self._counters["weir_unpriced_calls_total"].add((provider, model))
        self._time(record, provider, model)

    def _model(self, provider: str, record: CallRecord) -> str:
        """The model's label: a name that an upstream answered for or a book prices, else `other`."""
        name = record.model
        if not name:
            return Bound.UNNAMED
        known = self._models.get((provider, name))
        if known is not None:
            return known
        status = record.reading.http_status
        answered = status is not None and 200 <= status < 300
        if not answered and record.cost.cost_source == CostSource.NONE:
            return Bound.OTHER
        label = self._bounds["model"].label(name) if len(self._models) < CAPS["model"] else Bound.OTHER
        if label == Bound.OTHER:
            self._bounds["model"].overflow += len(self._models) >= CAPS["model"]
            return label
        return self._models.setdefault((provider, name), label)

    def _count(self, record: CallRecord, provider: str, model: str, project: str) -> None:
        operation = self._bounds["operation"].label(record.call.operation)
        outcome = self._bounds["outcome"].label(record.reading.outcome)
        self._counters["weir_calls_total"].add((provider, model, operation, project, outcome))
        if record.reading.meter_fault is not None:
            wire = self._bounds["wire_format"].label(record.call.wire_format)
            self._counters["weir_meter_faults_total"].add((wire,))

    def _count_tokens(self, parts: TokenParts, labels: Labels) -> None:
        tokens = self._counters["weir_tokens_total"]
        for kind, count in zip(TokenParts._fields, parts, strict=True):
            tokens.add((*labels, kind), count)

    def _measure_tokens(self, record: CallRecord, labels: Labels) -> None:
        reading = record.reading
        if reading.input_tokens is not None:
            self._histograms["weir_call_input_tokens"].observe(labels, max(reading.input_tokens, 0))
        if reading.output_tokens is not None:
            self._histograms["weir_call_output_tokens"].observe(labels, max(reading.output_tokens, 0))

    def _count_cost(self, record: CallRecord, labels: Labels) -> None:
        amount = record.cost.cost_nusd or 0
        costs = self._counters["weir_cost_usd_total"]
        costs.add(labels, amount)
        costs.exemplars[labels] = _exemplar(record, amount)

    def _time(self, record: CallRecord, provider: str, model: str) -> None:
        reading = record.reading
        if reading.duration_us is not None:
            labels = (provider, model, _outcome_class(record))
            exemplar = _exemplar(record, reading.duration_us)
            self._histograms["weir_call_duration_seconds"].observe(labels, max(reading.duration_us, 0), exemplar)
        if reading.ttft_us is not None:
            exemplar = _exemplar(record, reading.ttft_us)
            self._histograms["weir_time_to_first_token_seconds"].observe((provider, model), reading.ttft_us, exemplar)
            if (per_token := _per_output_token(record)) is not None:
                self._histograms["weir_time_per_output_token_seconds"].observe((provider, model), per_token)
        if reading.overhead_us is not None:
            self._histograms["weir_proxy_overhead_seconds"].observe((), reading.overhead_us)

    def _carry_over(self, levels: Levels) -> None:
        for label, bound in self._bounds.items():
            self._counters["weir_label_overflow_total"].values[(label,)] = bound.overflow
        self._counters["weir_price_errors_total"].values[()] = levels.price_errors
        self._counters["weir_journal_damage_total"].values[()] = levels.journal_damage

    def _gauges(self, levels: Levels) -> dict[str, dict[Labels, float]]:
        return {
            "weir_inflight_calls": dict(self._inflight),
            "weir_records_pending": {(): self._pending},
            "weir_active_sessions": {(): levels.active_sessions},
            "weir_recorder_queue_depth": {(): levels.queue_depth},
            "weir_recorder_queue_capacity": {(): levels.queue_capacity},
            "weir_recorder_lag_seconds": {(): levels.lag_seconds},
            "weir_journal_bytes": {(): levels.journal_bytes},
            "weir_workers": {(): levels.workers},
            "weir_store_up": {(): levels.store_up},
            "weir_build_info": {(self._version,): 1},
        }


def _outcome_class(record: CallRecord) -> str:
    if record.reading.outcome == Outcome.CLIENT_CLOSED:
        return "client_closed"
    return "error" if record.failed else "ok"


def _per_output_token(record: CallRecord) -> int | None:
    """Microseconds per token after the first, where all of an answer and its true length are known."""
    reading = record.reading
    whole = reading.outcome == Outcome.OK and reading.usage_source != UsageSource.PARTIAL
    if not whole or reading.duration_us is None or reading.ttft_us is None or (reading.output_tokens or 0) < 2:
        return None
    return max(reading.duration_us - reading.ttft_us, 0) // ((reading.output_tokens or 2) - 1)


def _exemplar(record: CallRecord, value: int) -> Exemplar:
    call = record.call
    return Exemplar(call.call_id, call.session_id, value, call.started_at + (record.reading.duration_us or 0))


def _counter(metric: Metric, values: dict[Labels, int], exemplars: dict[Labels, Exemplar]) -> Family:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        exemplar = _shown(exemplars[labels], metric.unit) if labels in exemplars else None
        family.add_metric(labels, _scaled(value, metric.unit), exemplar=exemplar)
    return family


def _histogram(metric: Metric, edges: tuple[int, ...], series: dict[Labels, Distribution]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = [*(str(float(_scaled(edge, metric.unit))) for edge in edges), "+Inf"]
    for labels, one in series.items():
        buckets: list[Any] = []
        below = 0
        for bound, count, exemplar in zip(bounds, one.counts, one.exemplars, strict=True):
            below += count
            buckets.append((bound, below, _shown(exemplar, metric.unit) if exemplar else None))
        family.add_metric(labels, buckets, _scaled(one.total, metric.unit))
    return family


def _gauge(metric: Metric, values: dict[Labels, float]) -> Family:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _scaled(value: int, unit: int) -> float:
    return value if unit == 1 else value / unit


def _shown(exemplar: Exemplar, unit: int) -> OpenMetricsExemplar:
    """An exemplar within OpenMetrics' limit of 128 characters of labels.

    A session id that is too long stays out, and so does one with quotes, backslashes or control characters: not every
    parser unescapes exemplars rightly, and one that stumbles loses the whole scrape.
    """
    labels = {"call_id": exemplar.call_id[:64]}
    session = exemplar.session_id
    fits = len("call_id" + labels["call_id"] + "session_id" + session) <= 128
    if session and fits and session.isprintable() and not set(session) & {'"', "\\"}:
        labels["session_id"] = session
    return OpenMetricsExemplar(labels, _scaled(exemplar.value, unit), exemplar.at / SECONDS)
