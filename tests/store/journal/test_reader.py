"""The reading side: following a live writer, starting anew anywhere, and bytes that are no journal."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store.journal import JournalReader, JournalWriter, Kind, Position
from store.journal.files import segment_path, segments
from store.journal.frames import intent_frame, schema_frame
from store.journal.reader import BLOCK
from tests.store.journal.shims import BOOT, a_call, a_reading, carry, die, harvest, told

ROOT = Path(__file__).resolve().parents[3]

WORKER = """
import sys
from pathlib import Path
from store.journal import JournalWriter
from tests.store.journal.shims import BOOT, a_call, a_reading
writer = JournalWriter(Path(sys.argv[1]), BOOT, segment_bytes=9_000)
for seq in range(1, 3001):
    writer.intent(a_call(seq))
    writer.outcome(a_call(seq), a_reading())
writer.close()
"""


def test_a_live_writer_is_followed_to_its_last_frame(tmp_path: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], cwd=ROOT)
    while not (tmp_path / BOOT / "000001.seg").exists():
        time.sleep(0.001)
    reader = JournalReader(tmp_path / BOOT)
    found: list[tuple[Kind, int]] = []
    alive = True
    while alive:
        alive = reader.writer_alive()
        found += told(harvest(reader, 97))
        reader.release(reader.position)
        time.sleep(0.001)
    assert worker.wait() == 0
    outcomes = [seq for kind, seq in found if kind is Kind.OUTCOME]
    assert (outcomes, reader.damaged, reader.pending_bytes()) == (list(range(1, 3001)), 0, 0)
    assert segments(tmp_path / BOOT) == [reader.position.segment] and reader.position.segment > 50
    reader.remove()
    assert not (tmp_path / BOOT).exists()


@pytest.fixture
def several(tmp_path: Path) -> JournalWriter:
    """A writer that has filled several segments."""
    writer = JournalWriter(tmp_path, BOOT, segment_bytes=2500)
    carry(writer, *range(1, 31))
    return writer


def test_reading_on_from_any_place_gives_the_rest(several: JournalWriter, tmp_path: Path) -> None:
    first = JournalReader(tmp_path / BOOT)
    entries = harvest(first)
    other = JournalReader(tmp_path / BOOT)
    for index in random.Random(1).sample(range(len(entries)), len(entries)):
        other.seek(entries[index].position)
        assert harvest(other) == entries[index + 1 :]
    other.seek(Position(0, 0))
    assert harvest(other) == entries
    assert first.damaged == other.damaged == 0
    for one in (first, other):
        one.close()
    several.close()


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_a_limit_loses_nothing(several: JournalWriter, tmp_path: Path, limit: int) -> None:
    whole = JournalReader(tmp_path / BOOT)
    expected = harvest(whole)
    reader = JournalReader(tmp_path / BOOT)
    found = []
    while some := reader.read(limit):
        assert len(some) <= limit and reader.position == some[-1].position
        found += some
    assert found == expected
    for one in (whole, reader):
        one.close()
    several.close()


def test_a_place_in_a_deleted_segment_leads_to_the_first_that_is_there(several: JournalWriter, tmp_path: Path) -> None:
    """Also when the deleted one is still open here: its bytes must not be taken for those of the next."""
    reader = JournalReader(tmp_path / BOOT)
    first = reader.read(1)[0]
    assert first.position.segment == 1
    other = JournalReader(tmp_path / BOOT)
    other.release(Position(3, 0))
    assert segments(tmp_path / BOOT)[0] == 3
    reader.seek(first.position)
    entry = reader.read(1)[0]
    assert reader.position == entry.position and entry.position.segment == 3
    assert harvest(reader)[-1].call == a_call(30)
    for one in (reader, other):
        one.close()
    several.close()


def test_a_hole_in_the_segments_is_stepped_over(several: JournalWriter, tmp_path: Path) -> None:
    segment_path(tmp_path / BOOT, 2).unlink()
    reader = JournalReader(tmp_path / BOOT)
    assert {entry.position.segment for entry in harvest(reader)} == set(segments(tmp_path / BOOT))
    reader.close()
    several.close()


def test_pending_bytes_are_those_behind_the_position(several: JournalWriter, tmp_path: Path) -> None:
    reader = JournalReader(tmp_path / BOOT)
    total = sum(segment_path(tmp_path / BOOT, number).stat().st_size for number in segments(tmp_path / BOOT))
    assert reader.pending_bytes() == total
    entry = reader.read(1)[0]
    assert reader.pending_bytes() == total - entry.position.offset
    last = total
    while reader.read(3):
        assert 0 <= reader.pending_bytes() < last
        last = reader.pending_bytes()
    assert reader.pending_bytes() == 0
    several.intent(a_call(31))
    assert reader.pending_bytes() > 0
    reader.seek(Position(segments(tmp_path / BOOT)[-1], 10**9))
    assert reader.pending_bytes() == 0
    reader.close()
    several.close()


def test_release_keeps_the_segment_of_the_position(several: JournalWriter, tmp_path: Path) -> None:
    reader = JournalReader(tmp_path / BOOT)
    before = segments(tmp_path / BOOT)
    reader.release(Position(1, 0))
    assert segments(tmp_path / BOOT) == before
    for _ in range(2):
        reader.release(Position(3, 5))
        assert segments(tmp_path / BOOT) == before[2:]
    reader.close()
    several.close()


def test_a_writer_is_alive_until_it_is_closed_or_dies(tmp_path: Path) -> None:
    for boot, end in (("closed", JournalWriter.close), ("killed", die)):
        writer = JournalWriter(tmp_path, boot)
        readers = [JournalReader(tmp_path / boot) for _ in range(2)]
        assert [reader.writer_alive() for reader in readers] == [True, True]
        end(writer)
        assert [reader.writer_alive() for reader in readers] == [False, False]
    assert not JournalReader(tmp_path / "never").writer_alive()


def test_two_readers_do_not_take_each_other_for_a_writer(tmp_path: Path) -> None:
    JournalWriter(tmp_path, BOOT).close()
    script = (
        "import sys; from pathlib import Path; from store.journal import JournalReader\n"
        "reader = JournalReader(Path(sys.argv[1]))\n"
        "print(sum(reader.writer_alive() for _ in range(3000)))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / BOOT)]
    probes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    assert [probe.communicate()[0] for probe in probes] == [b"0\n", b"0\n"]


def test_a_boot_with_nothing_in_it_reads_as_nothing(tmp_path: Path) -> None:
    reader = JournalReader(tmp_path / "not there")
    assert (reader.read(), reader.pending_bytes(), reader.position) == ([], 0, Position(1, 0))
    (tmp_path / "not there").mkdir()
    segment_path(tmp_path / "not there", 4).touch()
    reader = JournalReader(tmp_path / "not there")
    assert (reader.read(), reader.position, reader.damaged) == ([], Position(4, 0), 0)
    reader.close()


def write_segment(root: Path, *parts: bytes) -> JournalReader:
    """The journal of a writer that is gone, with exactly these bytes."""
    (root / BOOT).mkdir(parents=True, exist_ok=True)
    segment_path(root / BOOT, 1).write_bytes(b"".join(parts))
    return JournalReader(root / BOOT)


def intents(*seqs: int) -> list[bytes]:
    return [intent_frame(a_call(seq)) or b"" for seq in seqs]


@pytest.mark.parametrize("shift", [0, 1, 11, 12, 13, 100])
def test_frames_across_the_end_of_a_block(tmp_path: Path, shift: int) -> None:
    """Segments are larger than what is read at one time, so a block ends anywhere within a frame."""
    frames = intents(*range(1, 5000))
    padding = intent_frame(a_call(9999, project="p" * shift)) or b""
    reader = write_segment(tmp_path, schema_frame(), padding, *frames)
    assert segment_path(tmp_path / BOOT, 1).stat().st_size > 2 * BLOCK
    assert told(harvest(reader))[1:] == [(Kind.INTENT, seq) for seq in range(1, 5000)]
    assert reader.damaged == 0
    reader.close()


def test_large_frames_across_the_end_of_a_block(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, BOOT)
    for seq in range(1, 40):
        writer.outcome(a_call(seq), a_reading(raw_usage={"x": "y" * (60_000 - seq)}))
    reader = JournalReader(tmp_path / BOOT)
    assert told(harvest(reader)) == [(Kind.OUTCOME, seq) for seq in range(1, 40)]
    assert reader.damaged == 0
    reader.close()
    writer.close()


def test_sixteen_mebibytes_of_garbage_are_passed_in_bounded_time(tmp_path: Path) -> None:
    """Measured 0.05 s; and 0.5 s for each MiB of nothing but magic numbers. The bounds are for a busy machine."""
    noise = random.Random(5).randbytes(16 << 20)
    reader = write_segment(tmp_path, schema_frame(), *intents(1), noise, *intents(2))
    began = time.perf_counter()
    assert told(harvest(reader)) == [(Kind.INTENT, 1), (Kind.INTENT, 2)]
    took = time.perf_counter() - began
    assert (reader.damaged, took < 5) == (1, True)
    reader.close()
    reader = write_segment(tmp_path, b"\x37\x5e" * (1 << 19), *intents(2))
    began = time.perf_counter()
    assert told(harvest(reader)) == [(Kind.INTENT, 2)]
    assert (reader.damaged, time.perf_counter() - began < 20) == (1, True)
    reader.close()


def test_zeroes_after_a_power_cut_are_damage_and_no_more(tmp_path: Path) -> None:
    """File systems may give a file its length and not its bytes."""
    reader = write_segment(tmp_path, schema_frame(), *intents(1), b"\0" * 5000, *intents(2), b"\0" * 4096)
    assert told(harvest(reader)) == [(Kind.INTENT, 1), (Kind.INTENT, 2)]
    assert (reader.damaged, reader.pending_bytes()) == (2, 0)
    reader.close()


def test_a_segment_whose_schema_is_damaged_is_still_read(tmp_path: Path) -> None:
    schema = bytearray(schema_frame())
    schema[50] ^= 1
    reader = write_segment(tmp_path, bytes(schema), *intents(1, 2))
    assert told(harvest(reader)) == [(Kind.INTENT, 1), (Kind.INTENT, 2)]
    assert reader.damaged == 1
    reader.close()


def test_damage_in_a_live_segment_does_not_stop_what_comes_later(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, BOOT)
    reader = JournalReader(tmp_path / BOOT)
    carry(writer, 1)
    harvest(reader)
    os.write(writer._fd, b"no frame at all, but long enough")
    carry(writer, 2)
    assert told(harvest(reader)) == [(Kind.INTENT, 2), (Kind.OUTCOME, 2)]
    assert reader.damaged == 1
    reader.close()
    writer.close()


def test_what_was_read_is_forced_to_disk_segment_by_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = JournalWriter(tmp_path, BOOT, segment_bytes=1000)
    reader = JournalReader(tmp_path / BOOT)
    synced: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name))
    carry(writer, *range(1, 9))
    harvest(reader)
    reader.sync()
    here = [segment_path(tmp_path, number).name for number in segments(tmp_path / BOOT)]
    assert synced == here and len(here) > 2
    reader.sync()
    assert synced == [*here, here[-1]]
    reader.close()
    writer.close()
