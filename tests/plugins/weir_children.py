"""The processes of a running weir, and what kills them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.plugins.weir import Weir


def children(weir: Weir, module: str) -> list[int]:
    """The processes of one kind, `proxy.worker` or `proxy.recorder`, that live."""
    supervisor = weir.process.pid
    listed = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii").split()
    return [int(pid) for pid in listed if runs(int(pid), module)]


def runs(pid: int, module: str) -> bool:
    """Whether the process lives and runs the module."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return state != "Z" and module.encode() in command


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)
