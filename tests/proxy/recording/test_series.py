"""Counters, histograms and bounded labels, as integers."""

from __future__ import annotations

from hypothesis import given, strategies as st

from proxy.recording.series import Bound, Counter, Exemplar, Histogram


def test_counters_add_up_without_drift() -> None:
    counter = Counter()
    for _ in range(10_000):
        counter.add(("a",), 100_000_000)
        counter.add(("b",), 1)
    assert counter.values == {("a",): 10**12, ("b",): 10_000}
    assert counter.total() == 10**12 + 10_000


@given(st.lists(st.integers(0, 50)), st.sets(st.integers(0, 40), min_size=1, max_size=8))
def test_a_bucket_holds_what_is_at_most_its_edge(values: list[int], edges: set[int]) -> None:
    histogram = Histogram(sorted(edges))
    for value in values:
        histogram.observe((), value)
    series = histogram.begin(())
    for at, edge in enumerate(histogram.edges):
        assert sum(series.counts[: at + 1]) == sum(value <= edge for value in values)
    assert (sum(series.counts), series.total) == (len(values), sum(values))


def test_the_last_exemplar_of_a_bucket_stays() -> None:
    histogram = Histogram((10, 20))
    first, second = Exemplar("1", "s", 5, 0), Exemplar("2", "s", 6, 0)
    histogram.observe((), 5, first)
    histogram.observe((), 6, second)
    histogram.observe((), 7)
    copy = histogram.begin(()).copy()
    histogram.observe((), 15, first)
    assert copy.exemplars == [second, None, None]
    assert histogram.begin(()).exemplars == [second, first, None]


def test_a_label_takes_so_many_values_and_no_more() -> None:
    bound = Bound(3)
    assert [bound.label(name) for name in ("a", "b", "c", "d", "a", "e")] == ["a", "b", "c", "other", "a", "other"]
    assert bound.overflow == 2
    assert bound.label("") == "none"


def test_a_label_can_be_encoded_and_is_not_long() -> None:
    bound = Bound(3)
    assert bound.label("a\ud800b") == "a?b"
    assert bound.label("x" * 201) == "other"
