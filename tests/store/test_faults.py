"""Whose fault an error is, asked of errors that real databases raise."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from store.faults import is_row_fault, reason_of
from store.ledger import Ledger
from store.schema import gaps
from tests.store.conftest import START


def fault(ledger: Ledger, statement: Any, values: Any = None) -> Exception:
    """What the database raises."""
    with pytest.raises(Exception) as caught, ledger.engine.begin() as connection:
        connection.execute(statement, values)
    assert isinstance(caught.value, Exception)
    return caught.value


def test_a_value_that_is_missing_is_the_rows_fault(ledger: Ledger) -> None:
    values = {"boot_id": "b", "seq_from": 1, "seq_to": 1, "reason": None, "noted_at": START}
    error = fault(ledger, gaps.insert(), values)
    assert is_row_fault(error)
    assert reason_of(error) in ("23502", "SQLITE_CONSTRAINT_NOTNULL")


def test_a_number_that_does_not_fit_is_the_rows_fault(ledger: Ledger) -> None:
    values = {"boot_id": "b", "seq_from": 2**70, "seq_to": 1, "reason": "", "noted_at": START}
    error = fault(ledger, gaps.insert(), values)
    assert is_row_fault(error)
    assert reason_of(error) in ("22003", "OverflowError")


def test_too_large_an_index_entry_is_the_rows_fault(postgres_url: str) -> None:
    engine = sa.create_engine(postgres_url)
    noise = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(4000))
    with pytest.raises(sa.exc.OperationalError) as caught, engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x text PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO t VALUES (%s)", (noise,))
    engine.dispose()
    assert is_row_fault(caught.value)


def test_a_table_that_is_missing_is_not_the_rows_fault(ledger: Ledger) -> None:
    """Else a ledger that is not migrated would refuse, and lose, every row."""
    assert not is_row_fault(fault(ledger, sa.text("INSERT INTO nothing VALUES (1)")))


def test_a_deadline_is_not_the_rows_fault(postgres_url: str) -> None:
    ledger = Ledger(postgres_url, statement_timeout=0.05)
    error = fault(ledger, sa.text("SELECT pg_sleep(5)"))
    ledger.dispose()
    assert not is_row_fault(error)


def test_a_reason_never_quotes_the_row(ledger: Ledger) -> None:
    values = {"boot_id": "secret", "seq_from": 1, "seq_to": 1, "reason": None, "noted_at": START}
    assert "secret" not in reason_of(fault(ledger, gaps.insert(), values))


def test_other_errors_are_ours() -> None:
    assert not is_row_fault(KeyError("x"))
    assert is_row_fault(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"))
