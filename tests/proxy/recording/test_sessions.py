"""The number of active sessions: bounded, and right whatever order calls end in."""

from __future__ import annotations

from hypothesis import given, strategies as st

from proxy.recording import sessions
from proxy.recording.sessions import WINDOW_US, ActiveSessions

NOW = 10 * WINDOW_US


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(NOW - 2 * WINDOW_US, NOW))))
def test_the_count_is_that_of_sessions_whose_last_call_is_recent(touches: list[tuple[str, int]]) -> None:
    active = ActiveSessions()
    last: dict[str, int] = {}
    for name, at in touches:
        active.touch(name, at)
        last[name] = at
    assert active.count(NOW) == sum(at >= NOW - WINDOW_US for at in last.values())


def test_clients_cannot_make_it_grow() -> None:
    active = ActiveSessions()
    for number in range(sessions.MAX_SESSIONS + 1000):
        active.touch(f"s{number}", NOW)
    assert active.count(NOW) == sessions.MAX_SESSIONS
