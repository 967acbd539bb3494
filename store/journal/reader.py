"""The reading side of the journal, owned by the recorder: follows a live boot, and empties one that is over."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from store.journal.files import segment_path, segments, sizes, sync_names, sync_segments
from store.journal.frames import Decoder, Entry, Kind, Position, split

BLOCK = 256 << 10
"""Bytes read at one time; several times the largest frame."""


class JournalReader:
    """Reads one boot. Nothing found on disk makes it raise but a failing disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.boot_id = directory.name
        self.damaged = 0
        """Runs of bytes that were no frame and were skipped."""
        self._fd = -1
        self._decoder = Decoder()
        self._in_damage = False
        self.position = Position(self._first_segment(), 0)
        self._synced = self.position.segment - 1

    def read(self, limit: int = 1000) -> list[Entry]:
        """The next whole frames, at most `limit`; an empty list when there is nothing more *now*."""
        entries: list[Entry] = []
        while len(entries) < limit:
            over = self._segment_is_over()
            found = self._read_on(limit - len(entries), over=over)
            entries += found
            if not found and not (over and self._advance()):
                break
        return entries

    def seek(self, position: Position) -> None:
        """Goes on reading from `position`, which may lie before or after the present one."""
        there = max(position, Position(self._first_segment(), 0))
        if there.segment != self.position.segment:
            self.close()
        self.position = there
        self._in_damage = False

    def release(self, position: Position) -> None:
        """Deletes the segments that end before `position`."""
        for number in segments(self.directory):
            if number < position.segment:
                segment_path(self.directory, number).unlink(missing_ok=True)

    def remove(self) -> None:
        """Deletes the boot's directory. Only for a boot that is over and whose frames are all in the ledger."""
        self.close()
        shutil.rmtree(self.directory)

    def close(self) -> None:
        """Lets go of the open file; reading opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def writer_alive(self) -> bool:
        """Whether some process holds the boot's lock. The kernel drops it with the process, however it ends."""
        try:
            fd = os.open(self.directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two readers must not take each other for a writer
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def pending_bytes(self) -> int:
        """Bytes after the present position."""
        segment, offset = self.position
        ahead = {number: size for number, size in sizes(self.directory).items() if number >= segment}
        return sum(ahead.values()) - min(offset, ahead.get(segment, 0))

    def sync(self) -> None:
        """Forces what was read to the device: durability without a thread in the worker. Raises OSError."""
        last = self.position.segment
        sync_segments(self.directory, self._synced, last)
        if last != self._synced:
            sync_names(self.directory)
            sync_names(self.directory.parent)
        self._synced = last

    def _read_on(self, limit: int, *, over: bool) -> list[Entry]:
        """The next frames of the present segment, block by block until there are some."""
        while self._open():
            block = os.pread(self._fd, BLOCK, self.position.offset)
            entries, at = self._entries(block, limit, final=over and len(block) < BLOCK)
            self.position = self.position._replace(offset=self.position.offset + at)
            if entries or not at:
                return entries
        return []

    def _entries(self, block: bytes, limit: int, *, final: bool) -> tuple[list[Entry], int]:
        """The frames of a block and how far they reach."""
        segment, offset = self.position
        entries: list[Entry] = []
        at = 0
        for kind, start, end, at in split(block, final):
            if kind is None:
                self.damaged += not self._in_damage
            elif entry := self._decode(kind, memoryview(block)[start:end], Position(segment, offset + at)):
                entries.append(entry)
            self._in_damage = kind is None
            if len(entries) == limit:
                break
        return entries, at

    def _decode(self, kind: Kind, payload: memoryview, position: Position) -> Entry | None:
        try:
            return self._decoder.entry(kind, payload, position)
        except (ValueError, TypeError, LookupError):
            self.damaged += 1  # a frame as it was written, with something in it that this version cannot take
            return None

    def _segment_is_over(self) -> bool:
        """True when nothing will be appended to the present segment. Asked *before* reading its end."""
        number = self.position.segment
        return any(other > number for other in segments(self.directory)) or not self.writer_alive()

    def _advance(self) -> bool:
        later = [number for number in segments(self.directory) if number > self.position.segment]
        if not later:
            return False
        self.close()
        self.position = Position(later[0], 0)
        self._in_damage = False
        return True

    def _open(self) -> bool:
        if self._fd < 0:
            try:
                self._fd = os.open(segment_path(self.directory, self.position.segment), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            self._read_schema()
        return True

    def _read_schema(self) -> None:
        """The field names at the segment's head, needed wherever reading goes on in it."""
        block = os.pread(self._fd, BLOCK, 0)
        first = next(split(block, False), None)
        if first is not None and first[0] is Kind.SCHEMA and self.position.offset:
            self._decode(Kind.SCHEMA, memoryview(block)[first[1] : first[2]], self.position)

    def _first_segment(self) -> int:
        return next(iter(segments(self.directory)), 1)
