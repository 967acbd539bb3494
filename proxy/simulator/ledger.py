"""What the simulator answered, so that the books of a proxy in between can be checked against it.

Kept in memory, the last `KEPT` answers. Counts have the meaning of `story.Counts`, however the provider writes them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

KEPT = 200_000


@dataclass(slots=True, kw_only=True)
class Entry:
    """One request and what became of it. Token counts are None for an answer that has none."""

    n: int
    api: str
    path: str
    tag: str = ""
    id: str = ""
    model: str = ""
    stream: bool = False
    status: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    usage_sent: bool = False
    """Whether the answer, had it been read to its end, told these numbers."""
    events: int = 0
    """Pieces of body sent: HTTP chunks of a stream, 1 for a whole document."""
    finished: bool = False
    """The whole answer was handed to the network."""
    closed_by_client: bool = False
    """The other side left before that."""


class Ledger:
    """The answers of one simulator."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._count = 0

    def open(self, *, api: str, path: str) -> Entry:
        """A new entry, listed from now on."""
        self._count += 1
        entry = Entry(n=self._count, api=api, path=path)
        self._entries.append(entry)
        return entry

    def clear(self) -> None:
        """Forget all entries; numbering goes on."""
        self._entries.clear()

    def rows(self) -> list[dict[str, Any]]:
        """All entries, oldest first."""
        return [asdict(entry) for entry in self._entries]
