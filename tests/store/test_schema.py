"""Tables against the shared vocabulary, and against what a distributed PostgreSQL asks of keys."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from hypothesis import given, strategies as st

from store.ledger import Ledger
from store.record import COLUMNS
from store.rollups import METRICS
from store.schema import SUMS, calls, journal_positions, marks, metadata, moment, sessions, usage_hourly
from tests.store.conftest import START


def test_calls_has_one_column_per_name_of_the_record_in_its_order() -> None:
    assert tuple(column.name for column in calls.columns) == COLUMNS


def test_sums_have_a_column_each() -> None:
    assert set(SUMS) <= set(usage_hourly.c.keys())
    assert set(SUMS) <= set(sessions.c.keys())
    assert {f"{metric}_us" for metric in METRICS} <= set(COLUMNS)


def test_unique_keys_of_distributed_tables_contain_the_session() -> None:
    """Citus shards by session_id; a unique key without it cannot be kept across shards."""
    for table in (calls, sessions):
        unique = [index.columns for index in table.indexes if index.unique] + [table.primary_key.columns]
        assert [key for key in unique if "session_id" not in key] == []


def test_no_table_refers_to_another() -> None:
    assert [key for table in metadata.tables.values() for key in table.foreign_keys] == []


@given(st.integers(0, 253_402_300_799_999_999))
def test_a_moment_keeps_its_microseconds(at: int) -> None:
    assert (moment(at) - datetime(1970, 1, 1, tzinfo=UTC)) // (moment(1) - moment(0)) == at


@pytest.mark.parametrize("at", [0, 1, START, START + 999_999, 253_402_300_799_999_999])
def test_a_moment_comes_back_as_it_went(ledger: Ledger, at: int) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(marks.insert().values(name="x", at=at))
        assert connection.scalar(sa.select(marks.c.at).where(marks.c.at == at)) == at


def test_moments_are_native_on_postgresql_and_integers_on_sqlite(ledger: Ledger) -> None:
    columns = sa.inspect(ledger.engine).get_columns(journal_positions.name)
    kind = next(column["type"] for column in columns if column["name"] == "updated_at")
    assert str(kind) == {"postgresql": "TIMESTAMP", "sqlite": "INTEGER"}[ledger.engine.dialect.name]
    assert ledger.engine.dialect.name == "sqlite" or kind.timezone
