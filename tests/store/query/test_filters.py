"""Spans and names as conditions."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings, strategies as st

from store.ledger import Ledger
from store.query.filters import FILTERS, hour_of, matching, within
from store.query.rows import Span
from store.schema import calls, usage_hourly
from tests.store.conftest import HOUR, START, Make

MOMENTS = st.none() | st.integers(START - 5, START + 5)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(since=MOMENTS, until=MOMENTS)
def test_a_span_holds_its_start_and_not_its_end(
    ledger: Ledger, make: Make, since: int | None, until: int | None
) -> None:
    ledger.insert([make(boot_id="f" * 32, seq=n + 9, started_at=START + n) for n in range(-6, 7)])
    query = sa.select(calls.c.started_at).where(*within(calls.c.started_at, Span(since, until)))
    with ledger.engine.connect() as connection:
        found = sorted(connection.scalars(query))
    low, high = START - 6 if since is None else since, START + 7 if until is None else until
    assert found == [at for at in range(START - 6, START + 7) if low <= at < high]


def test_every_filter_is_a_column_of_calls() -> None:
    assert set(FILTERS) <= set(calls.c.keys())
    assert len(matching(calls, dict.fromkeys(FILTERS, "x"))) == len(FILTERS)
    assert matching(usage_hourly, None) == []


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="raw_usage"):
        matching(calls, {"raw_usage": "x"})


@pytest.mark.parametrize("offset", [-1, 0, 1, HOUR - 1, HOUR])
def test_the_hour_of_a_call(ledger: Ledger, make: Make, offset: int) -> None:
    at = START - START % HOUR + offset
    ledger.insert([make(started_at=at)])
    with ledger.engine.connect() as connection:
        assert connection.scalar(sa.select(hour_of(connection)).select_from(calls)) == at - at % HOUR
