"""Which named sessions had a call lately: a number for a gauge, since sessions themselves are never labels."""

from __future__ import annotations

WINDOW_US = 5 * 60 * 1_000_000
MAX_SESSIONS = 100_000
"""Names are chosen by clients; beyond this many the oldest are forgotten early."""


class ActiveSessions:
    """Last call of each named session, in the order in which they were heard of."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def touch(self, session_id: str, at: int) -> None:
        """A call of this session ended at `at` (microseconds)."""
        self._last.pop(session_id, None)
        self._last[session_id] = at
        if len(self._last) > MAX_SESSIONS:
            del self._last[next(iter(self._last))]

    def count(self, now: int) -> int:
        """Sessions with a call in the last five minutes before `now`. Forgets the others."""
        # All of them, as calls do not come in the order of their ends: 5 ms once a second at the very most.
        self._last = {name: at for name, at in self._last.items() if at >= now - WINDOW_US}
        return len(self._last)
