"""The journal: append-only files in which a worker leaves what it carried, and from which the recorder makes rows.

Four sentences hold here, and tests bear their names:

1. One `write()` per frame: what `intent()` returned True for survives `kill -9` of the process that wrote it.
2. A frame is whole or it is not there: a torn or flipped frame is skipped and counted, and never hides a later one.
3. Every segment stands alone: it opens with its field names and the intents still open, so older ones may be deleted.
4. A record that could not be written is kept in memory, then counted: its number ends up in a GAP frame.

Layout: `ROOT/<boot_id>/000001.seg`, `ROOT/<boot_id>/lock` (held with flock while the writer lives). One writer, one
reader. A frame is `magic u16 · kind u8 · version u8 · length u32 · crc32 u32 · payload`, little-endian, the checksum
over kind, version, length and payload. Payloads are JSON: values by position, named by the segment's SCHEMA frame
(305 bytes and 1.5 µs a frame where an object with names takes 1,006 bytes and 7.7 µs).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from store.record import CALL_FIELDS, READING_FIELDS, Call, Reading

MAGIC = 0x5E37
VERSION = 1
HEADER = struct.Struct("<HBBII")
MAX_PAYLOAD = 64 << 10
"""Bound of one frame. A record is at most some 20 KiB: 16 KiB of raw usage and short texts."""
MAX_BACKLOG = 8 << 20
"""Bytes of unwritten outcome frames kept in memory while the disk refuses them (about 20,000 calls)."""
MAX_LOST = 100_000
"""Lost numbers remembered for GAP frames; beyond it the hole in `seq` is the only proof."""
BLOCK = 256 << 10

_call_values = attrgetter(*CALL_FIELDS)
_reading_values = attrgetter(*READING_FIELDS)


class Kind(IntEnum):
    """What a frame says."""

    SCHEMA = 0
    INTENT = 1
    OUTCOME = 2
    PROGRESS = 3
    GAP = 4


KINDS = tuple(Kind)


class Position(NamedTuple):
    """A place between two frames of one boot: segment number and byte offset in it."""

    segment: int
    offset: int


class Gap(NamedTuple):
    """Calls whose records are lost, with the reason that is counted."""

    seq_from: int
    seq_to: int
    reason: str


class Entry(NamedTuple):
    """One frame as read."""

    kind: Kind
    call: Call | None
    reading: Reading | None
    gap: Gap | None
    position: Position
    """Right after this frame."""


def boots(root: Path) -> list[str]:
    """The boot ids that have a journal under `root`, oldest first by directory time."""
    try:
        found = [entry for entry in os.scandir(root) if entry.is_dir()]
    except FileNotFoundError:
        return []
    return [entry.name for entry in sorted(found, key=lambda entry: (entry.stat().st_mtime_ns, entry.name))]


def total_bytes(root: Path) -> int:
    """Bytes of all segments under `root`."""
    return sum(path.stat().st_size for path in root.glob("*/*.seg"))


def encode(kind: Kind, payload: bytes) -> bytes:
    """One frame as it stands on disk."""
    head = HEADER.pack(MAGIC, kind, VERSION, len(payload), 0)
    return HEADER.pack(MAGIC, kind, VERSION, len(payload), zlib.crc32(payload, zlib.crc32(head[2:8]))) + payload


class JournalWriter:
    """The writing side, owned by one worker. No method raises on a failing disk; `False` means not on disk now."""

    def __init__(self, root: Path, boot_id: str, *, segment_bytes: int = 16 << 20, max_bytes: int = 2 << 30) -> None:
        self._root = root
        self._directory = root / boot_id
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._segment = 0
        self._fd = -1
        self._offset = 0
        self._rotated: list[int] = []
        self._open: dict[int, bytes] = {}
        self._backlog: deque[tuple[int, bytes]] = deque()
        self._backlog_bytes = 0
        self._lost: dict[int, str] = {}
        self.dropped = 0
        """Records given up in this boot."""
        self.refused: str | None = None
        """Why the last write failed; None while writing works."""
        self._directory.mkdir(parents=True, mode=0o700)
        self._lock = os.open(self._directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._next_segment()

    def intent(self, call: Call) -> bool:
        """Notes that `call` is about to be forwarded. True once the kernel has it."""
        frame = encode(Kind.INTENT, orjson.dumps(_call_values(call)))
        self._open[call.seq] = frame
        return self._append(frame)

    def progress(self, call: Call, reading: Reading) -> bool:
        """Notes how far a long call has come, in case its worker dies."""
        return self._append(encode(Kind.PROGRESS, _payload(call, reading)))

    def outcome(self, call: Call, reading: Reading) -> bool:
        """Notes how `call` ended. What cannot be written is kept, bounded, and tried again by `retry`."""
        self._open.pop(call.seq, None)
        frame = encode(Kind.OUTCOME, _payload(call, reading))
        if len(frame) > MAX_PAYLOAD + HEADER.size:
            self._lose(call.seq, "oversized")
            return False
        if not self._backlog and self._append(frame):
            return True
        self._keep(call.seq, frame)
        return False

    def retry(self) -> bool:
        """Tries to write what was kept and the gaps of what was lost; True when nothing waits any more."""
        while self._backlog:
            seq, frame = self._backlog[0]
            if not self._append(frame):
                return False
            self._backlog.popleft()
            self._backlog_bytes -= len(frame)
        for gap in _ranges(self._lost):
            if not self._append(encode(Kind.GAP, orjson.dumps(gap))):
                return False
            for seq in range(gap.seq_from, gap.seq_to + 1):
                del self._lost[seq]
        return True

    @property
    def waiting(self) -> int:
        """Records and lost numbers that are not on disk yet."""
        return len(self._backlog) + len(self._lost)

    def sync(self) -> None:
        """Forces all frames written before this call to the device. Blocks: call it in a thread. Raises OSError."""
        rotated, self._rotated = self._rotated, []
        fds = [*rotated, os.dup(self._fd)]
        try:
            for fd in fds:
                os.fdatasync(fd)
        finally:
            for fd in fds:
                os.close(fd)

    def close(self) -> None:
        """Writes what waits if it can, syncs, and lets go of the lock: the boot is over."""
        self.retry()
        try:
            self.sync()
        except OSError as error:
            self.refused = os.strerror(error.errno or 0)
        os.close(self._fd)
        os.close(self._lock)

    def _append(self, frame: bytes) -> bool:
        if self._offset >= self._segment_bytes and not self._rotate():
            return False
        try:
            written = os.write(self._fd, frame)
        except OSError as error:
            written, self.refused = 0, errno.errorcode.get(error.errno or 0, "EIO")
        if written == len(frame):
            self._offset += written
            self.refused = None
            return True
        if written:
            self.refused = "ENOSPC"
        self._cut()
        return False

    def _cut(self) -> None:
        """Takes a short write back, so that the next frame starts where a reader expects one."""
        try:
            os.ftruncate(self._fd, self._offset)
        except OSError:
            # The torn bytes stay; readers resynchronise at the next magic. A new segment keeps them apart from it.
            self._offset = self._segment_bytes

    def _rotate(self) -> bool:
        if total_bytes(self._root) >= self._max_bytes:
            self.refused = "journal_full"
            return False
        try:
            self._next_segment()
        except OSError as error:
            self.refused = errno.errorcode.get(error.errno or 0, "EIO")
            return False
        return True

    def _next_segment(self) -> None:
        """Opens the next file and makes it stand alone: field names first, then the intents still open."""
        path = self._directory / f"{self._segment + 1:06d}.seg"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        opening = encode(Kind.SCHEMA, orjson.dumps((CALL_FIELDS, READING_FIELDS))) + b"".join(self._open.values())
        # Written under another name first: a reader takes the existence of the next segment as the end of this one.
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        fd = os.open(draft, flags, 0o600)
        try:
            _write_all(fd, opening)
            draft.rename(path)
        except OSError:
            os.close(fd)
            raise
        if self._fd >= 0:
            self._rotated.append(self._fd)
        self._fd, self._segment, self._offset = fd, self._segment + 1, len(opening)
        while len(self._rotated) > 4:
            os.close(self._rotated.pop(0))

    def _keep(self, seq: int, frame: bytes) -> None:
        if self._backlog_bytes + len(frame) > MAX_BACKLOG:
            self._lose(seq, self.refused or "backlog")
            return
        self._backlog.append((seq, frame))
        self._backlog_bytes += len(frame)

    def _lose(self, seq: int, reason: str) -> None:
        self.dropped += 1
        if len(self._lost) < MAX_LOST:
            self._lost[seq] = reason


def _payload(call: Call, reading: Reading) -> bytes:
    payload = orjson.dumps((_call_values(call), _reading_values(reading)))
    if len(payload) > MAX_PAYLOAD:
        call.tags = reading.raw_usage = None
        payload = orjson.dumps((_call_values(call), _reading_values(reading)))
    return payload


def _ranges(lost: dict[int, str]) -> list[Gap]:
    gaps: list[Gap] = []
    for seq, reason in sorted(lost.items()):
        if gaps and gaps[-1].seq_to == seq - 1 and gaps[-1].reason == reason:
            gaps[-1] = gaps[-1]._replace(seq_to=seq)
        else:
            gaps.append(Gap(seq, seq, reason))
    return gaps


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class JournalReader:
    """The reading side of one boot, owned by the recorder. Nothing found on disk makes it raise but a failing disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.boot_id = directory.name
        self.damaged = 0
        """Runs of bytes that were no frame and were skipped."""
        self._fd = -1
        self._schema: tuple[tuple[str, ...], tuple[str, ...]] = (CALL_FIELDS, READING_FIELDS)
        self.position = Position(self._first_segment(), 0)

    def read(self, limit: int = 1000) -> list[Entry]:
        """The next whole frames, at most `limit`; an empty list when there is nothing more *now*."""
        entries: list[Entry] = []
        while len(entries) < limit:
            over = self._segment_is_over()
            found = self._read_block(limit - len(entries), over=over)
            entries += found
            if not found and not (over and self._advance()):
                break
        return entries

    def seek(self, position: Position) -> None:
        """Goes on reading from `position`, which may lie before or after the present one."""
        if position.segment != self.position.segment:
            self._close()
        self.position = max(position, Position(self._first_segment(), 0))

    def release(self, position: Position) -> None:
        """Deletes the segments that end before `position`."""
        for number in self._segments():
            if number < position.segment:
                self._path(number).unlink(missing_ok=True)

    def remove(self) -> None:
        """Deletes the boot's directory. Only for a boot that is over and whose frames are all in the ledger."""
        self._close()
        shutil.rmtree(self.directory)

    def writer_alive(self) -> bool:
        """Whether some process holds the boot's lock. The kernel drops it with the process, however it ends."""
        try:
            fd = os.open(self.directory / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def pending_bytes(self) -> int:
        """Bytes after the present position."""
        sizes = {number: self._path(number).stat().st_size for number in self._segments()}
        ahead = sum(size for number, size in sizes.items() if number >= self.position.segment)
        return max(ahead - self.position.offset, 0)

    def sync(self) -> None:
        """Forces the segment being read to the device: durability without a thread in the worker. Raises OSError."""
        if self._open():
            os.fdatasync(self._fd)

    def _read_block(self, limit: int, *, over: bool) -> list[Entry]:
        if not self._open():
            return []
        segment, offset = self.position
        block = os.pread(self._fd, BLOCK, offset)
        entries: list[Entry] = []
        at = 0
        for kind, start, end, at in _frames(block, len(block) < BLOCK and over):
            if kind is None:
                self.damaged += 1
            elif (entry := self._entry(kind, memoryview(block)[start:end], Position(segment, offset + at))) is not None:
                entries.append(entry)
            if len(entries) == limit:
                break
        self.position = Position(segment, offset + at)
        if at and not entries:
            return self._read_block(limit, over=over)
        return entries

    def _entry(self, kind: Kind, payload: memoryview, position: Position) -> Entry | None:
        try:
            values = orjson.loads(payload)
            if kind is Kind.SCHEMA:
                self._schema = (tuple(values[0]), tuple(values[1]))
                return None
            if kind is Kind.GAP:
                return Entry(kind, None, None, Gap(*values), position)
            call = _build(Call, self._schema[0], values if kind is Kind.INTENT else values[0])
            reading = None if kind is Kind.INTENT else _build(Reading, self._schema[1], values[1])
        except (ValueError, TypeError, IndexError):
            self.damaged += 1
            return None
        return Entry(kind, call, reading, None, position)

    def _segment_is_over(self) -> bool:
        """True when nothing will be appended to the present segment. Asked *before* reading its end."""
        number = self.position.segment
        return any(other > number for other in self._segments()) or not self.writer_alive()

    def _advance(self) -> bool:
        later = [number for number in self._segments() if number > self.position.segment]
        if not later:
            return False
        self._close()
        self.position = Position(later[0], 0)
        return True

    def _open(self) -> bool:
        if self._fd < 0:
            try:
                self._fd = os.open(self._path(self.position.segment), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            self._read_schema()
        return True

    def _read_schema(self) -> None:
        for kind, start, end, _at in _frames(block := os.pread(self._fd, BLOCK, 0), False):
            if kind is Kind.SCHEMA:
                self._entry(kind, memoryview(block)[start:end], self.position)
            return

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _first_segment(self) -> int:
        return next(iter(self._segments()), 1)

    def _segments(self) -> list[int]:
        names = (path.stem for path in self.directory.glob("*.seg"))
        return sorted(int(name) for name in names if name.isdigit())

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:06d}.seg"


def _frames(block: bytes, final: bool) -> Iterator[tuple[Kind | None, int, int, int]]:
    """Splits a block into frames: (kind, payload start, payload end, offset behind). Kind None: a damaged run.

    `final` says that the block ends where its segment ends for good, so that a torn tail is damage, not a wait.
    """
    at, size = 0, len(block)
    while at < size:
        end = _frame_end(block, at)
        if end > 0:
            yield KINDS[block[at + 2]], at + HEADER.size, end, end
            at = end
        elif end == 0 and not final:
            return
        else:
            at = _resync(block, at + 1, final)
            yield None, 0, 0, at


def _frame_end(block: bytes, at: int) -> int:
    """Where the frame at `at` ends; 0 when it may go on behind the block; -1 when there is no frame."""
    if len(block) - at < HEADER.size:
        return 0
    magic, kind, version, length, crc = HEADER.unpack_from(block, at)
    if magic != MAGIC or version != VERSION or length > MAX_PAYLOAD or kind > Kind.GAP:
        return -1
    end: int = at + HEADER.size + length
    if end > len(block):
        return 0
    body = memoryview(block)[at + HEADER.size : end]
    return end if zlib.crc32(body, zlib.crc32(block[at + 2 : at + 8])) == crc else -1


def _resync(block: bytes, at: int, final: bool) -> int:
    """The next place where a frame starts, or could start behind the block's end."""
    magic = MAGIC.to_bytes(2, "little")
    while (at := block.find(magic, at)) >= 0:
        end = _frame_end(block, at)
        if end > 0 or (end == 0 and not final):
            return at
        at += 1
    return len(block) if final else max(len(block) - 1, 1)


def _build(kind: type[Any], names: tuple[str, ...], values: list[Any]) -> Any:
    """A Call or Reading from a frame of this or another version: unknown names are dropped, missing ones default."""
    known = CALL_FIELDS if kind is Call else READING_FIELDS
    if names == known:
        return kind(*values)
    pairs = zip(names, values, strict=True)
    return kind(**{name: value for name, value in pairs if name in known})
