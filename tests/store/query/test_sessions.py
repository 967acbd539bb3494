"""Sessions by cost and time, and one of them."""

from __future__ import annotations

from typing import Any

import pytest

from store.ledger import Ledger
from store.query import Span, session, sessions
from tests.store.conftest import START, Make, Seed

SECOND = 1_000_000


def named(session_id: str, at: int, **more: Any) -> dict[str, Any]:
    values = {"session_id": session_id, "session_source": "header", "started_at": START + at * SECOND}
    return values | {"cost_source": "override" if "cost_nusd" in more else "none"} | more


def three(ledger: Ledger, make: Make) -> None:
    ledger.insert(
        [
            make(**named("cheap", 0, cost_nusd=1)),
            make(**named("dear", 1, cost_nusd=100, project="p")),
            make(**named("dear", 9, project="p", outcome="timeout")),
            make(**named("late", 20)),
            make(started_at=START),
        ]
    )


def test_the_dearest_or_the_latest_comes_first(ledger: Ledger, make: Make) -> None:
    three(ledger, make)
    with ledger.engine.connect() as connection:
        assert [row.session_id for row in sessions(connection)] == ["dear", "cheap", "late"]
        assert [row.session_id for row in sessions(connection, order="time", limit=2)] == ["late", "dear"]


def test_a_session_has_the_sums_of_its_calls(ledger: Ledger, make: Make) -> None:
    three(ledger, make)
    with ledger.engine.connect() as connection:
        (row,) = sessions(connection, where={"project": "p"})
    assert (row.calls, row.errors, row.cost_nusd, row.project) == (2, 1, 100, "p")
    assert (row.first_call_at, row.last_call_at) == (START + SECOND, START + 9 * SECOND)


def test_sessions_of_a_span_are_those_that_it_touches(ledger: Ledger, make: Make) -> None:
    three(ledger, make)
    with ledger.engine.connect() as connection:
        for since, until, expected in ((2, 9, ["dear"]), (0, 1, ["cheap"]), (10, 20, []), (20, 21, ["late"])):
            span = Span(START + since * SECOND, START + until * SECOND)
            assert [row.session_id for row in sessions(connection, span)] == expected


def test_one_session_call_by_call(ledger: Ledger, make: Make) -> None:
    three(ledger, make)
    with ledger.engine.connect() as connection:
        detail = session(connection, "dear")
        assert session(connection, "nobody") is None
    assert detail is not None
    assert [row.started_at for row in detail.calls] == [START + SECOND, START + 9 * SECOND]
    assert [row.calls for row in detail.summaries] == [2]


def test_a_session_in_two_projects_has_two_summaries(ledger: Ledger, make: Make) -> None:
    ledger.insert([make(**named("s", 0, project="a")), make(**named("s", 1))])
    with ledger.engine.connect() as connection:
        detail = session(connection, "s")
    assert detail is not None
    assert [row.project for row in detail.summaries] == [None, "a"]


def test_both_databases_answer_alike(both: tuple[Ledger, Ledger], seed: Seed) -> None:
    answers = []
    for ledger in both:
        ledger.insert(seed(200, number=3))
        with ledger.engine.connect() as connection:
            answers.append((sessions(connection), sessions(connection, order="time"), session(connection, "s-1")))
    strip = [[row for part in answer[:2] for row in part] for answer in answers]
    assert strip[0] == strip[1] != []


@pytest.mark.parametrize("wrong", [{"order": "colour"}, {"where": {"model": "x"}}])
def test_what_cannot_be_asked_is_refused(ledger: Ledger, wrong: dict[str, Any]) -> None:
    with ledger.engine.connect() as connection, pytest.raises(ValueError, match=r"cost or time|session_id"):
        sessions(connection, **wrong)
