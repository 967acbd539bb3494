"""Small records, a reader's whole harvest, and a disk that fails when it is told to: its fault is real to the code."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from store.journal import Entry, JournalReader, JournalWriter, Kind
from store.record import Call, Outcome, Reading

BOOT = "b" * 32
SYSCALLS = ("write", "open", "ftruncate", "rename", "unlink", "mkdir", "fdatasync", "fsync")


def a_call(seq: int = 1, **more: Any) -> Call:
    return Call(f"call-{seq}", BOOT, seq, 1_795_000_000_000_000 + seq, "POST", "/v1/x", **more)


def a_reading(**more: Any) -> Reading:
    values: dict[str, Any] = {"outcome": Outcome.OK, "http_status": 200, "input_tokens": 7}
    return Reading(**(values | more))


def carry(writer: JournalWriter, *seqs: int) -> None:
    """Whole calls, each an intent and an outcome."""
    for seq in seqs:
        writer.intent(a_call(seq))
        writer.outcome(a_call(seq), a_reading())


def die(writer: JournalWriter) -> None:
    """What the kernel does when a process is killed: descriptors are closed and nothing else happens."""
    writer._let_go()
    writer._closed = True


def harvest(reader: JournalReader, limit: int = 1000) -> list[Entry]:
    """Everything there is to read now."""
    entries: list[Entry] = []
    while found := reader.read(limit):
        entries += found
    return entries


def told(entries: list[Entry]) -> list[tuple[Kind, int]]:
    """Kind and call number of each entry; for a gap its first number."""
    return [(e.kind, e.call.seq if e.call else e.gap.seq_from if e.gap else 0) for e in entries]


def all_in(root: Path) -> list[tuple[Kind, int]]:
    """What a reader that starts anew finds."""
    reader = JournalReader(root / BOOT)
    try:
        return told(harvest(reader))
    finally:
        reader.close()


class Disk:
    """Stands between the process and the files below `root`. `fault` decides, call by call."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        """Calls on files below the root since the last `arm`."""
        self.fault: Callable[[int, str], str | None] = lambda number, name: None
        """(number of the call from 1, its name) → None, the name of an errno, or `short` for half a write."""
        self._root = str(root)
        for name in SYSCALLS:
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def arm(self, fault: Callable[[int, str], str | None]) -> None:
        """Counts from 1 again, with another fault."""
        self.calls, self.fault = 0, fault

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any, *args: Any, **named: Any) -> Any:
            if not self._ours(target):
                return real(target, *args, **named)
            self.calls += 1
            what = self.fault(self.calls, name)
            if what is None:
                return real(target, *args, **named)
            if what == "short" and name == "write" and len(args[0]) > 1:
                return real(target, bytes(args[0])[: len(args[0]) // 2])
            number = getattr(errno, what if what != "short" else "ENOSPC")
            raise OSError(number, os.strerror(number), str(target))

        return call

    def _ours(self, target: Any) -> bool:
        try:
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)
        except FileNotFoundError:
            return False
        return str(path).startswith(self._root)
