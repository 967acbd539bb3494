"""A child process's tie to its supervisor: standard input brings the settings, and its end means the parent is gone.

Reads descriptor 0 directly: a thread blocked in `sys.stdin` holds a lock that aborts the interpreter at its end.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

from proxy.settings import Settings


def settings_from_parent() -> Settings:
    """The one line that the supervisor writes first. Blocks until it is there."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return Settings.from_wire(bytes(line))


def when_parent_is_gone(stop: Callable[[], object]) -> None:
    """Calls `stop`, in a thread of its own, once standard input has ended."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        with contextlib.suppress(RuntimeError):  # the loop is closed already: there is nothing left to stop
            stop()

    threading.Thread(target=wait, daemon=True, name="weir-parent").start()
