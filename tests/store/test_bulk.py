"""Statements for many rows: all types, all at once, and conflicts as they were asked for."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from store.bulk import Insert
from store.ledger import Ledger
from store.schema import calls, gaps, journal_positions
from tests.store.conftest import START


def rows(ledger: Ledger, table: sa.Table) -> list[tuple[Any, ...]]:
    with ledger.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))]


GIVEN = [("b1", 1, 2, "why ü", START), ("b2", 3, 2**63 - 1, "", START + 1)]


def test_rows_arrive_as_they_were_given(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        assert Insert(gaps, "DO NOTHING").run(connection, GIVEN) == 2
    assert rows(ledger, gaps) == GIVEN


def test_rows_that_are_there_are_left_alone_and_not_counted(ledger: Ledger) -> None:
    insert = Insert(gaps, "DO NOTHING")
    with ledger.engine.begin() as connection:
        insert.run(connection, GIVEN[:1])
        changed = [(*row[:3], "another reason", START) for row in GIVEN]
        assert insert.run(connection, changed) == 1
    assert [row[3] for row in rows(ledger, gaps)] == ["why ü", "another reason"]


def test_rows_that_are_there_are_changed_where_asked(ledger: Ledger) -> None:
    insert = Insert(journal_positions, "(boot_id) DO UPDATE SET segment = journal_positions.segment + excluded.segment")
    with ledger.engine.begin() as connection:
        assert insert.run(connection, [("b", 1, 7, START)]) == 1
        assert insert.run(connection, [("b", 2, 9, START)]) == 1
    assert rows(ledger, journal_positions) == [("b", 3, 7, START)]


def test_no_rows_are_no_statement(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        assert Insert(gaps, "DO NOTHING").run(connection, []) == 0


@pytest.mark.parametrize("table", [calls, gaps, journal_positions])
def test_every_column_type_has_a_name_on_postgresql(table: sa.Table) -> None:
    assert Insert(table, "DO NOTHING")._postgresql.count('"') >= 4 * len(table.columns)
