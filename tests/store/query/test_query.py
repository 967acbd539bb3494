"""The one address of all questions, and that none of them needs more than a read-only connection."""

from __future__ import annotations

import pytest

from store import query
from store.engine import read_only
from store.ledger import Ledger
from store.verify import verify
from tests.store.conftest import START, Seed


def test_everything_is_at_one_address() -> None:
    assert [name for name in query.__all__ if not hasattr(query, name)] == []
    assert sorted(query.__all__, key=str.swapcase) == sorted(set(query.__all__), key=str.swapcase)


@pytest.mark.parametrize("empty", [True, False])
def test_every_question_can_be_asked_where_nothing_can_be_written(
    ledger: Ledger, store_url: str, seed: Seed, empty: bool
) -> None:
    ledger.insert([] if empty else seed(40))
    with read_only(store_url) as connection:
        for name in query.GROUPS:
            assert bool(query.usage(connection, by=(name,))) is not empty
        assert query.totals(connection).calls == (0 if empty else 40)
        assert bool(query.sessions(connection)) is not empty
        assert (query.session(connection, "s-1") is None) is empty
        assert bool(query.calls(connection)) is not empty
        assert bool(list(query.records(connection))) is not empty
        assert bool(query.errors(connection)) is not empty
        assert bool(query.latency(connection)) is not empty
        assert bool(query.unpriced_models(connection)) is not empty
        assert query.counts(connection).calls == (0 if empty else 40)
        assert bool(query.Tail().next(connection, START)) is not empty
        assert verify(connection).balanced
