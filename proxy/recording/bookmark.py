"""The last committed place of each journal, in a small file beside them.

The ledger knows these places too, and better: it commits them with the rows. The file only serves a start without the
store, so that metrics do not count again what an earlier recorder counted and committed. Losing it loses nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import orjson

from store.journal import Position

log = logging.getLogger(__name__)


class Bookmark:
    """The file. Written by one thread, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, Position]:
        """The places, by boot; empty when there is no readable file."""
        try:
            places = orjson.loads(self._path.read_bytes())
            return {str(boot): Position(int(segment), int(offset)) for boot, (segment, offset) in places.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("event=bookmark_unreadable path=%s cause=%s", self._path, type(error).__name__)
            return {}

    def save(self, places: Mapping[str, Position]) -> None:
        """Writes the places. A failing disk is logged, not raised: see above."""
        draft = self._path.with_suffix(".new")
        try:
            draft.write_bytes(orjson.dumps({boot_id: list(place) for boot_id, place in places.items()}))
            draft.replace(self._path)
        except OSError as error:
            log.warning("event=bookmark_not_written path=%s cause=%s", self._path, error.strerror)
