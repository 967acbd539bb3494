"""The journal's folders: which boots and segments are there, how large they are, and that they are on the device.

Writers make segments while the reader deletes them, so a file that is gone between two looks is no fault here.
"""

from __future__ import annotations

import os
from pathlib import Path

SUFFIX = ".seg"


def boots(root: Path) -> list[str]:
    """The boot ids that have a journal under `root`, oldest first by directory time."""
    found = []
    for entry in _entries(root):
        try:
            if entry.is_dir():
                found.append((entry.stat().st_mtime_ns, entry.name))
        except FileNotFoundError:
            continue  # the reader has just removed it
    return [name for _, name in sorted(found)]


def total_bytes(root: Path) -> int:
    """Bytes of all segments under `root`."""
    return sum(sum(sizes(root / boot).values()) for boot in boots(root))


def releasable_bytes(root: Path) -> int:
    """Bytes of all segments but the newest of each boot: what a reader that keeps up would have deleted.

    The newest ones are deleted only when another follows or the boot ends, so they must not stand in the way of that.
    """
    return sum(sum(by_number[number] for number in sorted(by_number)[:-1]) for by_number in _all_sizes(root))


def segment_path(directory: Path, number: int) -> Path:
    """Where a segment is."""
    return directory / f"{number:06d}{SUFFIX}"


def segments(directory: Path) -> list[int]:
    """Numbers of the segments that are there, in order."""
    stems = (entry.name.removesuffix(SUFFIX) for entry in _entries(directory) if entry.name.endswith(SUFFIX))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())


def sizes(directory: Path) -> dict[int, int]:
    """Bytes of each segment that is there."""
    found = {}
    for number in segments(directory):
        try:
            found[number] = segment_path(directory, number).stat().st_size
        except FileNotFoundError:
            continue  # the reader has just released it
    return found


def sync_segments(directory: Path, first: int, last: int) -> None:
    """Forces segments to the device, and the names of new ones. Blocks. Raises OSError.

    Opened anew each time: a descriptor kept for this would keep the space of a segment that is deleted long ago.
    """
    for number in range(first, last + 1):
        try:
            fd = os.open(segment_path(directory, number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # released: what it held is in the ledger
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)


def sync_names(directory: Path) -> None:
    """Forces a directory to the device: after a power cut a file is there only if its name is. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _all_sizes(root: Path) -> list[dict[int, int]]:
    return [sizes(root / boot) for boot in boots(root)]


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return list(found)
    except FileNotFoundError:
        return []
