"""The writing side: what it does when the disk is full, failing or gone, and that it holds nothing for ever."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.journal import Gap, JournalReader, JournalWriter, Kind, total_bytes
from store.journal.files import segment_path, segments
from store.journal.frames import MAX_PAYLOAD
from store.journal.writer import FULL_CHECK
from tests.store.journal.shims import BOOT, Disk, a_call, a_reading, all_in, carry, die, harvest, told


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def refuses(writer: JournalWriter) -> bool:
    return writer.refused is not None


def outcomes(root: Path) -> list[int]:
    return [seq for kind, seq in all_in(root) if kind is Kind.OUTCOME]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "mnt"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a small tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_costs_nothing_once_there_is_room_again(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 40_000)
    writer = JournalWriter(small_disk / "journal", BOOT, segment_bytes=6000)
    total = 0
    while not refuses(writer):
        carry(writer, total := total + 1)
    for seq in range(total + 1, total + 21):
        assert not writer.outcome(a_call(seq), a_reading())
    assert (writer.refused, writer.dropped, writer.waiting >= 20) == ("ENOSPC", 0, True)
    before = outcomes(small_disk / "journal")
    assert before == list(range(1, len(before) + 1)), "nothing torn is left in the file"
    ballast.unlink()
    assert writer.retry() and writer.refused is None
    carry(writer, total + 21)
    assert outcomes(small_disk / "journal") == list(range(1, total + 22))
    writer.close()


def test_a_disk_that_is_full_at_the_start_does_not_stop_the_worker(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                break
    writer = JournalWriter(small_disk / "journal", BOOT)
    assert not writer.intent(a_call(1)) and not writer.outcome(a_call(1), a_reading())
    assert (writer.refused, writer.waiting) == ("ENOSPC", 1)
    with pytest.raises(OSError, match="no file yet"):
        writer.sync()
    ballast.unlink()
    assert writer.retry()
    assert outcomes(small_disk / "journal") == [1]
    assert JournalReader(small_disk / "journal" / BOOT).writer_alive()
    writer.close()


@pytest.mark.parametrize("name", ["mkdir", "open", "write", "rename"])
def test_a_disk_that_fails_at_the_start_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    disk = Disk(tmp_path, monkeypatch)
    disk.arm(lambda _, called: "EIO" if called == name else None)
    writer = JournalWriter(tmp_path / "journal", BOOT)
    assert not writer.intent(a_call(1)) and refuses(writer)
    disk.arm(lambda _, called: None)
    assert writer.intent(a_call(2)) and writer.refused is None
    assert sorted(all_in(tmp_path / "journal")) == [(Kind.INTENT, 1), (Kind.INTENT, 2)]
    writer.close()


def test_a_boot_has_one_writer_only(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, BOOT)
    before = open_files()
    with pytest.raises(FileExistsError):
        JournalWriter(tmp_path, BOOT)
    assert open_files() == before
    writer.close()


@pytest.mark.parametrize("name", ["EACCES", "ENOTDIR", "ENAMETOOLONG"])
def test_a_folder_that_cannot_be_used_is_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    disk = Disk(tmp_path, monkeypatch)
    before = open_files()
    for at in range(1, 5):
        disk.arm(lambda number, _, at=at: name if number == at else None)  # type: ignore[misc]
        with pytest.raises(OSError, match=os.strerror(getattr(errno, name))):
            JournalWriter(tmp_path / f"{at}", BOOT)
    assert open_files() == before


def test_a_probing_reader_never_keeps_a_writer_from_starting(tmp_path: Path) -> None:
    """The probe takes the lock for an instant; a writer that began just then must not fail."""
    stop = threading.Event()

    def probe() -> None:
        while not stop.is_set():
            for boot in os.listdir(tmp_path):
                JournalReader(tmp_path / boot).writer_alive()

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        for number in range(200):
            JournalWriter(tmp_path, f"{number % 3}-{number}").close()
    finally:
        stop.set()
        thread.join()


def test_a_small_journal_goes_on_as_long_as_its_reader_keeps_up(tmp_path: Path) -> None:
    """`max_bytes` below two segments, and two workers: no one waits for what only the other can free."""
    writers = [JournalWriter(tmp_path, boot, segment_bytes=4000, max_bytes=5000) for boot in ("a", "b")]
    readers = [JournalReader(tmp_path / boot) for boot in ("a", "b")]
    for seq in range(1, 200):
        for writer, reader in zip(writers, readers, strict=True):
            carry(writer, seq)
            assert writer.waiting == 0
            harvest(reader)
            reader.release(reader.position)
    for writer, reader in zip(writers, readers, strict=True):
        assert reader.position.segment > 10
        reader.close()
        writer.close()


def test_a_full_journal_refuses_keeps_and_goes_on(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, BOOT, segment_bytes=4000, max_bytes=20_000)
    carry(writer, *range(1, 101))
    assert (writer.refused, writer.dropped) == ("journal_full", 0)
    assert total_bytes(tmp_path) < 20_000 + 2 * 5000
    assert writer.waiting and not writer.retry()
    reader = JournalReader(tmp_path / BOOT)
    found = told(harvest(reader))
    for _ in range(5):
        reader.release(reader.position)
        writer.retry()
        found += told(harvest(reader))
    assert (writer.waiting, writer.refused) == (0, None)
    assert [seq for kind, seq in found if kind is Kind.OUTCOME] == list(range(1, 101))
    reader.close()
    writer.close()


def test_a_full_journal_is_not_measured_at_each_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def look(_root: Path) -> int:
        nonlocal looks
        looks += 1
        return 1 << 40

    monkeypatch.setattr("store.journal.writer.releasable_bytes", look)
    writer = JournalWriter(tmp_path, BOOT, segment_bytes=100)
    carry(writer, *range(1, 10 * FULL_CHECK))
    assert 1 < looks < 15
    writer.close()


def test_an_oversized_record_is_counted_at_once(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, BOOT)
    huge = a_call(1, project="p" * MAX_PAYLOAD)
    assert not writer.intent(huge) and not writer.progress(huge, a_reading())
    assert not writer.outcome(huge, a_reading())
    assert (writer.dropped, writer.waiting, writer.retry(), writer.waiting) == (1, 1, True, 0)
    reader = JournalReader(tmp_path / BOOT)
    assert [entry.gap for entry in harvest(reader)] == [Gap(1, 1, "oversized")]
    assert reader.damaged == 0
    reader.close()
    writer.close()


def test_lost_numbers_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.journal.writer.MAX_LOST", 5)
    writer = JournalWriter(tmp_path, BOOT)
    for seq in (1, 2, 4, 5, 9, 10, 11):
        writer._lose(seq, "EIO")
    assert (writer.dropped, writer.waiting) == (7, 5)
    assert writer.retry()
    assert [kind for kind, _ in all_in(tmp_path)] == [Kind.GAP] * 3
    writer.close()


def test_many_open_calls_do_not_fill_the_journal_with_their_intents(tmp_path: Path) -> None:
    """Each segment repeats them; one that held nothing else would make the next one necessary at once."""
    writer = JournalWriter(tmp_path, BOOT, segment_bytes=1000)
    for seq in range(1, 501):
        writer.intent(a_call(seq))
    written = len(all_in(tmp_path))
    assert written < 3 * 500
    for seq in range(1, 501):
        writer.outcome(a_call(seq), a_reading())
    assert len(all_in(tmp_path)) - written < 6 * 500
    carry(writer, *range(501, 520))
    assert writer._limit < 2000
    writer.close()


def test_open_intents_are_forgotten_when_their_call_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it ended: written, kept and written later, or lost."""
    writer = JournalWriter(tmp_path, BOOT)
    for seq in (1, 2, 3):
        writer.intent(a_call(seq))
    writer.outcome(a_call(1), a_reading())
    disk = Disk(tmp_path, monkeypatch)
    disk.arm(lambda _, name: "EIO" if name == "write" else None)
    writer.outcome(a_call(2), a_reading())
    monkeypatch.setattr("store.journal.writer.MAX_BACKLOG", 0)
    writer.outcome(a_call(3), a_reading())
    assert list(writer._open) == [2]
    disk.arm(lambda _, name: None)
    writer.retry()
    assert not writer._open
    writer.close()


def test_many_rotations_leak_nothing(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, BOOT, segment_bytes=1000)
    reader = JournalReader(tmp_path / BOOT)
    carry(writer, 1)
    harvest(reader)
    before = open_files()
    for seq in range(2, 300):
        carry(writer, seq)
        if seq % 3 == 0:
            harvest(reader)
            reader.release(reader.position)
        if seq % 7 == 0:
            writer.sync()
            reader.sync()
    assert writer._segment > 100 and open_files() == before
    reader.close()
    writer.close()


def test_a_released_segment_gives_its_space_back(tmp_path: Path) -> None:
    """No descriptor of the writer keeps a deleted file alive."""
    writer = JournalWriter(tmp_path, BOOT, segment_bytes=1000)
    carry(writer, *range(1, 50))
    for number in segments(tmp_path / BOOT)[:-1]:
        segment_path(tmp_path / BOOT, number).unlink()
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    held = [os.readlink(link) for link in links if os.path.lexists(link)]
    assert not [path for path in held if path.startswith(str(tmp_path)) and path.endswith("(deleted)")]
    writer.close()


def test_sync_covers_every_segment_since_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = JournalWriter(tmp_path, BOOT, segment_bytes=1000)
    synced: list[str] = []
    real = os.fdatasync

    def noting(fd: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", noting)
    writer.sync()
    carry(writer, *range(1, 20))
    writer.sync()
    here = [segment_path(tmp_path, number).name for number in segments(tmp_path / BOOT)]
    assert len(here) > 5
    assert synced == ["000001.seg", *here]
    segment_path(tmp_path / BOOT, 1).unlink()
    writer.sync()
    assert synced[len(here) + 1 :] == [here[-1]]
    writer.close()


def test_sync_in_a_thread_misses_no_segment_that_is_rotated_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(tmp_path, BOOT, segment_bytes=1000)
    synced: set[str] = set()
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.add(Path(os.readlink(f"/proc/self/fd/{fd}")).name))
    for seq in range(1, 80):
        carry(writer, seq)
        wanted = {segment_path(tmp_path, number).name for number in segments(tmp_path / BOOT)}
        thread = threading.Thread(target=writer.sync)
        thread.start()
        carry(writer, seq + 1000, seq + 2000)
        thread.join()
        assert wanted <= synced
    writer.close()


@pytest.mark.parametrize("name", ["fdatasync", "fsync"])
def test_a_sync_that_fails_says_so_and_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    disk = Disk(tmp_path, monkeypatch)
    writer = JournalWriter(tmp_path, BOOT)
    carry(writer, 1)
    disk.arm(lambda _, called: "EIO" if called == name else None)
    before = open_files()
    for _ in range(5):
        with pytest.raises(OSError, match="error"):
            writer.sync()
    assert open_files() == before
    disk.arm(lambda _, called: None)
    writer.sync()
    assert disk.calls >= 3
    writer.close()


def test_a_closed_writer_touches_nothing_any_more(tmp_path: Path) -> None:
    """Its descriptor numbers may belong to a client's socket by then."""
    writer = JournalWriter(tmp_path, BOOT)
    numbers = {writer._fd, writer._lock}
    carry(writer, 1)
    writer.close()
    read_end, write_end = os.pipe()
    others = [os.dup(write_end) for _ in range(4)]
    assert numbers & {read_end, write_end, *others}
    assert not writer.intent(a_call(2)) and not writer.outcome(a_call(2), a_reading())
    assert not writer.retry()
    writer.close()
    for fd in (write_end, *others):
        os.close(fd)
    assert os.read(read_end, 100) == b""
    os.close(read_end)
    assert outcomes(tmp_path) == [1]
    assert not JournalReader(tmp_path / BOOT).writer_alive()


def test_a_draft_that_a_crash_left_is_no_segment(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, BOOT, segment_bytes=1000)
    carry(writer, 1)
    (tmp_path / BOOT / "000002.new").write_bytes(b"half")
    carry(writer, *range(2, 9))
    die(writer)
    (tmp_path / BOOT / "000099.new").write_bytes(b"half")
    assert outcomes(tmp_path) == list(range(1, 9))
