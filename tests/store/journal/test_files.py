"""The journal's folders: what is there, how large it is, and that files may vanish between two looks."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from store.journal import JournalWriter, boots, total_bytes
from store.journal.files import releasable_bytes, segment_path, segments, sizes, sync_names, sync_segments
from tests.store.journal.shims import BOOT, carry


def fill(root: Path, boot: str, *lengths: int) -> None:
    (root / boot).mkdir(parents=True)
    for number, length in enumerate(lengths, 1):
        segment_path(root / boot, number).write_bytes(b"x" * length)


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    assert (boots(tmp_path / "no"), total_bytes(tmp_path / "no"), segments(tmp_path / "no")) == ([], 0, [])


def test_boots_are_folders_oldest_first(tmp_path: Path) -> None:
    for age, name in ((3, "b"), (1, "c"), (2, "a")):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (age, age))
    (tmp_path / "file").touch()
    assert boots(tmp_path) == ["c", "a", "b"]


def test_only_segments_count(tmp_path: Path) -> None:
    fill(tmp_path, "a", 5, 7)
    fill(tmp_path, "b", 11)
    for stray in ("000009.new", "lock", "x.seg", ".seg", "²³.seg", "-1.seg"):
        (tmp_path / "a" / stray).write_bytes(b"stray")
    segment_path(tmp_path / "a", 1_234_567).write_bytes(b"z")
    assert segments(tmp_path / "a") == [1, 2, 1_234_567]
    assert sizes(tmp_path / "a") == {1: 5, 2: 7, 1_234_567: 1}
    assert total_bytes(tmp_path) == 24


def test_the_newest_segment_of_a_boot_is_not_for_release(tmp_path: Path) -> None:
    fill(tmp_path, "a", 5, 7, 100)
    fill(tmp_path, "b", 11)
    fill(tmp_path, "c")
    assert releasable_bytes(tmp_path) == 12


def test_a_file_that_vanishes_meanwhile_is_no_fault(tmp_path: Path) -> None:
    """The reader releases segments and removes boots while a writer looks how full the journal is."""
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            fill(tmp_path, f"boot-{number}", *[1] * 5)
            for one in range(1, 6):
                segment_path(tmp_path / f"boot-{number}", one).unlink()
            (tmp_path / f"boot-{number}").rmdir()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(1500):
            assert total_bytes(tmp_path) <= 5
            assert releasable_bytes(tmp_path) <= 4
            assert len(boots(tmp_path)) <= 1
    finally:
        stop.set()
        thread.join()


def test_what_is_synced_is_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a", 1, 1, 1, 1)
    segment_path(tmp_path / "a", 2).unlink()
    synced: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name))
    sync_segments(tmp_path / "a", 0, 3)
    assert synced == ["000001.seg", "000003.seg"]
    before = len(os.listdir("/proc/self/fd"))
    sync_names(tmp_path / "a")
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(FileNotFoundError):
        sync_names(tmp_path / "no")


def test_the_files_are_for_nobody_else(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, BOOT)
    carry(writer, 1)
    assert (tmp_path / BOOT).stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / BOOT).iterdir()} == {0o600}
    writer.close()
