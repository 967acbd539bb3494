"""Group commit: many wait for one sync, each is told the truth, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.durability import GroupCommit
from store.journal import JournalWriter


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Disk:
    """A sync that is held until it is let go, and fails when told to."""

    def __init__(self) -> None:
        self.may = threading.Semaphore(0)
        self.begun = 0
        self.fails = False
        self.threads: set[int] = set()

    def sync(self) -> None:
        self.begun += 1
        self.threads.add(threading.get_ident())
        assert self.may.acquire(timeout=20)
        if self.fails:
            raise OSError(errno.EIO, "the disk is dying")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def test_one_sync_serves_all_who_came_before_it(executor: ThreadPoolExecutor) -> None:
    async def run() -> None:
        disk = Disk()
        commit = GroupCommit(disk.sync, executor)
        told: list[tuple[str, bool]] = []
        commit.when_durable(lambda ok: told.append(("first", ok)))
        await until(lambda: disk.begun == 1)
        for name in ("a", "b", "c"):
            commit.when_durable(lambda ok, name=name: told.append((name, ok)))  # type: ignore[misc]
        await asyncio.sleep(0.02)
        assert (told, disk.begun) == ([], 1)
        disk.may.release()
        await until(lambda: disk.begun == 2)
        assert told == [("first", True)]
        disk.may.release()
        await until(lambda: len(told) == 4)
        assert told[1:] == [("a", True), ("b", True), ("c", True)]
        assert (disk.begun, threading.get_ident() in disk.threads) == (2, False)

    asyncio.run(run())


def test_a_sync_that_fails_says_so_to_its_own_group_only(
    executor: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        disk = Disk()
        commit = GroupCommit(disk.sync, executor)
        told: list[bool] = []
        disk.fails = True
        commit.when_durable(told.append)
        disk.may.release()
        await until(lambda: told == [False])
        disk.fails = False
        commit.when_durable(told.append)
        disk.may.release()
        await until(lambda: told == [False, True])

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == ["journal could not be synced to disk error=OSError"]


def test_one_who_raises_does_not_keep_the_others_waiting(executor: ThreadPoolExecutor) -> None:
    async def run() -> None:
        raised: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))
        disk = Disk()
        commit = GroupCommit(disk.sync, executor)
        told: list[bool] = []

        def broken(_ok: bool) -> None:
            raise RuntimeError("this call is broken")

        for then in (broken, told.append, broken, told.append):
            commit.when_durable(then)
        disk.may.release(2)
        await until(lambda: told == [True, True])
        assert [str(one) for one in raised] == ["this call is broken"] * 2

    asyncio.run(run())


def test_one_who_asks_from_within_an_answer_gets_its_own(executor: ThreadPoolExecutor) -> None:
    async def run() -> None:
        disk = Disk()
        commit = GroupCommit(disk.sync, executor)
        told: list[bool] = []
        commit.when_durable(lambda _: commit.when_durable(told.append))
        disk.may.release(2)
        await until(lambda: told == [True])
        assert disk.begun == 2

    asyncio.run(run())


def test_with_a_real_journal_the_answer_comes_after_its_sync(executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    async def run() -> None:
        writer = JournalWriter(tmp_path, "boot")
        synced = 0

        def sync() -> None:
            nonlocal synced
            writer.sync()
            synced += 1

        commit = GroupCommit(sync, executor)
        seen: list[tuple[bool, int]] = []
        for _ in range(20):
            commit.when_durable(lambda ok: seen.append((ok, synced)))
            await asyncio.sleep(0)
        await until(lambda: len(seen) == 20)
        assert all(ok and count >= 1 for ok, count in seen)
        assert synced <= 20
        writer.close()

    asyncio.run(run())
