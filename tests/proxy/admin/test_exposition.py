"""Scrapes share renderings, and still see what happened a moment ago."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from proxy.admin import exposition
from proxy.admin.exposition import Exposition


class Slow:
    """A rendering that takes a while, and counts how often it is made."""

    def __init__(self) -> None:
        self.made = 0
        self.threads: set[str] = set()

    def __call__(self, accept: str) -> tuple[bytes, str]:
        self.made += 1
        self.threads.add(threading.current_thread().name)
        time.sleep(0.05)
        return f"{self.made}".encode(), accept


def test_scrapes_that_come_together_cost_one_rendering() -> None:
    async def scrape() -> list[tuple[bytes, str]]:
        shared = Exposition(slow)
        return list(await asyncio.gather(*(shared.get("text/plain") for _ in range(10))))

    slow = Slow()
    assert asyncio.run(scrape()) == [(b"1", "")] * 10
    assert "MainThread" not in slow.threads, "the event loop stays free"


def test_formats_are_rendered_apart() -> None:
    async def scrape() -> list[tuple[bytes, str]]:
        shared = Exposition(slow)
        accepts = ("*/*", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        return [await shared.get(accept) for accept in accepts]

    slow = Slow()
    assert asyncio.run(scrape()) == [(b"1", ""), (b"2", "application/openmetrics-text")]


def test_an_old_rendering_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scrape() -> list[bytes]:
        shared = Exposition(slow)
        first = await shared.get("")
        second = await shared.get("")
        await asyncio.sleep(0.15)
        return [body for body, _ in (first, second, await shared.get(""))]

    monkeypatch.setattr(exposition, "FRESH_SECONDS", 0.15)
    slow = Slow()
    assert asyncio.run(scrape()) == [b"1", b"1", b"2"]


def test_a_scraper_that_hangs_up_takes_nothing_from_the_others() -> None:
    async def scrape() -> bytes:
        shared = Exposition(slow)
        gone = asyncio.create_task(shared.get(""))
        stays = asyncio.create_task(shared.get(""))
        await asyncio.sleep(0.01)
        gone.cancel()
        body, _ = await stays
        return body

    slow = Slow()
    assert asyncio.run(scrape()) == b"1"


def test_a_failed_rendering_is_not_kept() -> None:
    async def scrape() -> bytes:
        shared = Exposition(broken_once)
        with pytest.raises(RuntimeError):
            await shared.get("")
        body, _ = await shared.get("")
        return body

    calls: list[str] = []

    def broken_once(accept: str) -> tuple[bytes, str]:
        calls.append(accept)
        if len(calls) == 1:
            raise RuntimeError
        return b"fine", ""

    assert asyncio.run(scrape()) == b"fine"
