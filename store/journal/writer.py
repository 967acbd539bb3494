"""The writing side of the journal, owned by one worker. Nothing a disk does may stop or break a call."""

from __future__ import annotations

import errno
import fcntl
import os
from collections import deque
from pathlib import Path

from store.journal.files import releasable_bytes, segment_path, sync_names, sync_segments
from store.journal.frames import Gap, Kind, gap_frame, intent_frame, reading_frame, schema_frame
from store.record import Call, Reading

MAX_BACKLOG = 8 << 20
"""Bytes of unwritten outcome frames kept in memory while the disk refuses them (about 20,000 calls)."""
MAX_LOST = 100_000
"""Lost numbers remembered for GAP frames; beyond it the hole in `seq` is the only proof."""
FULL_CHECK = 100
"""Frames refused without looking again whether a full journal has room: the look takes 1 µs a segment."""

_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS))
"""What a disk may do to a worker that starts without keeping it from starting; anything else is a wrong set-up."""


class JournalWriter:
    """Writes one boot. No method raises on a failing disk, `sync` excepted; `False` means not on disk now.

    Raises OSError when the folder cannot be used at all, or when `boot_id` has been used before.
    """

    def __init__(self, root: Path, boot_id: str, *, segment_bytes: int = 16 << 20, max_bytes: int = 2 << 30) -> None:
        self._root = root
        self._directory = root / boot_id
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._segment = 0
        self._synced = 0
        self._fd = self._lock = -1
        self._made = self._closed = False
        self._offset = self._limit = segment_bytes
        self._full = 0
        self._open: dict[int, bytes] = {}
        self._backlog: deque[tuple[int, bytes]] = deque()
        self._backlog_bytes = 0
        self._lost: dict[int, str] = {}
        self.dropped = 0
        """Records given up in this boot."""
        self.refused: str | None = None
        """Why the last write failed; None while writing works."""
        try:
            self._next_segment()
        except OSError as error:
            if error.errno not in _NO_ROOM:
                self._let_go()
                raise
            self._refuse(error)

    def intent(self, call: Call) -> bool:
        """Notes that `call` is about to be forwarded. True once the kernel has it."""
        frame = intent_frame(call)
        if frame is None:
            return False
        written = self._append(frame)
        self._open[call.seq] = frame
        return written

    def progress(self, call: Call, reading: Reading) -> bool:
        """Notes how far a long call has come, in case its worker dies."""
        frame = reading_frame(Kind.PROGRESS, call, reading)
        return frame is not None and self._append(frame)

    def outcome(self, call: Call, reading: Reading) -> bool:
        """Notes how `call` ended. What cannot be written is kept, bounded, and tried again by `retry`."""
        frame = reading_frame(Kind.OUTCOME, call, reading)
        if frame is None:
            self._lose(call.seq, "oversized")
        elif not self._backlog and self._append(frame):
            self._open.pop(call.seq, None)
            return True
        else:
            self._keep(call.seq, frame)
        return False

    def retry(self) -> bool:
        """Tries to write what was kept and the gaps of what was lost; True when nothing waits any more."""
        self._full = 0
        while self._backlog:
            seq, frame = self._backlog[0]
            if not self._append(frame):
                return False
            self._backlog.popleft()
            self._backlog_bytes -= len(frame)
            self._open.pop(seq, None)
        for gap in _ranges(self._lost):
            if not self._append(gap_frame(gap)):
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
        last = self._segment  # read first: the frames are in this segment or an earlier one
        if not last:
            raise OSError(errno.EIO, "the journal has no file yet")
        sync_segments(self._directory, self._synced, last)
        if last != self._synced:
            sync_names(self._directory)
            sync_names(self._root)
        self._synced = last

    def close(self) -> None:
        """Writes what waits if it can, syncs, and lets go of the lock: the boot is over, nothing is taken any more."""
        if self._closed:
            return
        self.retry()
        try:
            self.sync()
        except OSError as error:
            self._refuse(error)
        self._closed = True
        self._let_go()

    def _append(self, frame: bytes) -> bool:
        if self._offset >= self._limit and not self._rotate():
            return False
        try:
            written = os.write(self._fd, frame)
        except OSError as error:
            written = 0
            self._refuse(error)
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
            self._offset = self._limit

    def _rotate(self) -> bool:
        if self._closed or self._full:
            self._full -= bool(self._full)
            return False
        if self._segment and releasable_bytes(self._root) >= self._max_bytes:
            self.refused, self._full = "journal_full", FULL_CHECK
            return False
        try:
            self._next_segment()
        except OSError as error:
            self._refuse(error)
            return False
        return True

    def _next_segment(self) -> None:
        """Opens the next file and makes it stand alone: field names first, then the intents still open."""
        if self._lock < 0:
            self._claim()
        path = segment_path(self._directory, self._segment + 1)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        opening = schema_frame() + b"".join(self._open.values())
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
            os.close(self._fd)
        self._fd, self._segment, self._offset = fd, self._segment + 1, len(opening)
        # Many calls may be open after an outage; segments of nothing but their intents would fill the journal.
        self._limit = max(self._segment_bytes, 2 * len(opening))

    def _claim(self) -> None:
        """Makes the boot's folder and takes its lock. Waits for the lock: a reader's probe holds it for an instant."""
        if not self._made:
            self._directory.mkdir(parents=True, mode=0o700)
            self._made = True
        lock = os.open(self._directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            os.close(lock)
            raise
        self._lock = lock

    def _let_go(self) -> None:
        """Closes what is open, and forgets the numbers: they may soon be somebody's socket."""
        for fd in (self._fd, self._lock):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock = -1
        self._offset = self._limit

    def _refuse(self, error: OSError) -> None:
        self.refused = errno.errorcode.get(error.errno or 0, "EIO")

    def _keep(self, seq: int, frame: bytes) -> None:
        if self._backlog_bytes + len(frame) > MAX_BACKLOG:
            self._lose(seq, self.refused or "backlog")
            return
        self._backlog.append((seq, frame))
        self._backlog_bytes += len(frame)

    def _lose(self, seq: int, reason: str) -> None:
        self._open.pop(seq, None)
        self.dropped += 1
        if len(self._lost) < MAX_LOST:
            self._lost[seq] = reason


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
        written = os.write(fd, view)
        if not written:
            raise OSError(errno.ENOSPC, "nothing was written")
        view = view[written:]
