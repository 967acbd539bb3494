"""Failures counted by kind."""

from __future__ import annotations

from typing import Any

from store.ledger import Ledger
from store.query import Span, errors
from tests.store.conftest import START, Make, Seed


def test_failures_of_a_kind_are_counted_together(ledger: Ledger, make: Make) -> None:
    limit: dict[str, Any] = {"outcome": "upstream_error", "http_status": 429, "error_type": "rate_limit"}
    named = {"session_id": "s", "session_source": "header"}
    limited = [make(**limit), make(**limit, **named), make(**limit, **named)]
    others = [make(outcome="timeout"), make(), make(outcome="client_closed"), make(**limit, provider="p")]
    ledger.insert(limited + others)
    with ledger.engine.connect() as connection:
        rows = errors(connection)
        assert [row.outcome for row in errors(connection, Span(START + 4_000_000, START + 5_000_000))] == ["timeout"]
        assert [row.errors for row in errors(connection, where={"provider": "p"})] == [1]
    first = rows[0]
    assert (first.outcome, first.http_status, first.error_type, first.provider) == (*limit.values(), None)
    assert (first.errors, first.sessions) == (3, 1)
    assert (first.first_seen, first.last_seen) == (START + 1_000_000, START + 3_000_000)
    assert sum(row.errors for row in rows) == 5


def test_both_databases_answer_alike(both: tuple[Ledger, Ledger], seed: Seed) -> None:
    answers = []
    for ledger in both:
        ledger.insert(seed(200))
        with ledger.engine.connect() as connection:
            answers.append(errors(connection, limit=999))
    assert sorted(answers[0], key=repr) == sorted(answers[1], key=repr) != []
    assert [row.errors for row in answers[0]] == [row.errors for row in answers[1]]
