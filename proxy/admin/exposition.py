"""`/metrics`: rendered in a thread, and one rendering for all scrapes that come while it runs or just after.

Ten Prometheus servers that scrape at once cost one rendering; a call that ended a moment ago is seen all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

Rendering = tuple[bytes, str]

FRESH_SECONDS = 0.25


class Exposition:
    """Shares renderings, one per format. Lives on one event loop."""

    def __init__(self, render: Callable[[str], Rendering]) -> None:
        self._render = render
        self._running: dict[str, asyncio.Task[Rendering]] = {}
        self._done: dict[str, tuple[float, Rendering]] = {}

    async def get(self, accept: str) -> Rendering:
        """The exposition for a scraper's `Accept`, at most a quarter of a second old."""
        form = "application/openmetrics-text" if "application/openmetrics-text" in accept else ""
        made_at, rendering = self._done.get(form, (0.0, (b"", "")))
        if made_at and time.monotonic() - made_at < FRESH_SECONDS:
            return rendering
        if form not in self._running:
            self._running[form] = asyncio.create_task(self._make(form))
        # Shielded: a scraper that hangs up must not take the rendering away from the others.
        return await asyncio.shield(self._running[form])

    async def _make(self, form: str) -> Rendering:
        begun = time.monotonic()
        try:
            rendering = await asyncio.to_thread(self._render, form)
            self._done[form] = (begun, rendering)
            return rendering
        finally:
            del self._running[form]
