"""A real child process: it takes its settings from standard input, and notices that its parent is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.settings import Settings, UpstreamSettings

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = Settings(
    upstreams={"x": UpstreamSettings(base_url="http://127.0.0.1:1", provider="x")}, data=Path("/tmp/é \n data")
)
WIRE = SETTINGS.to_wire().encode() + b"\n"

CHILD = """
import asyncio, sys, threading
from proxy.parent import settings_from_parent, when_parent_is_gone
settings = settings_from_parent()
print(repr(str(settings.data)), flush=True)
async def main():
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    when_parent_is_gone(lambda: loop.call_soon_threadsafe(gone.set))
    print("running", [t.daemon for t in threading.enumerate() if t.name == "weir-parent"], flush=True)
    if sys.argv[1] == "wait":
        await gone.wait()
        print("gone", flush=True)
asyncio.run(main())
print("end", flush=True)
"""

Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    children: list[subprocess.Popen[bytes]] = []

    def begin(mode: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", CHILD, mode]
        pipe = subprocess.PIPE
        children.append(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe))
        return children[-1]

    yield begin
    for child in children:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            assert stream is not None
            stream.close()


def line(child: subprocess.Popen[bytes]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().decode().rstrip("\n")


def feed(child: subprocess.Popen[bytes], data: bytes) -> None:
    assert child.stdin is not None
    child.stdin.write(data)
    child.stdin.flush()


def test_the_first_line_brings_the_settings(start: Start) -> None:
    child = start("wait")
    for at in range(0, len(WIRE), 100):
        feed(child, WIRE[at : at + 100])
    assert line(child) == repr("/tmp/é \n data")
    assert line(child) == "running [True]"
    feed(child, b"more bytes are no end\n" * 1000)
    assert child.poll() is None
    assert child.stdin is not None
    child.stdin.close()
    assert (line(child), line(child)) == ("gone", "end")
    assert child.wait(20) == 0


def test_a_child_that_ends_first_ends_cleanly(start: Start) -> None:
    """Its thread still waits for input then; that must neither hang the interpreter nor abort it."""
    child = start("end")
    feed(child, WIRE)
    assert [line(child) for _ in range(3)] == [repr("/tmp/é \n data"), "running [True]", "end"]
    assert child.wait(20) == 0
    assert child.stderr is not None
    assert child.stderr.read() == b""


def test_a_parent_that_is_killed_is_noticed(tmp_path: Path) -> None:
    """A parent holds the pipe; when it dies by SIGKILL the kernel closes it, and the grandchild notices."""
    parent = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {CHILD!r}, 'wait'], stdin=subprocess.PIPE)\n"
        f"child.stdin.write({WIRE!r}); child.stdin.flush()\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        while not process.stdout.readline().startswith(b"running"):
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
        assert process.stdout.read() == b"gone\nend\n"


def test_a_parent_that_dies_before_it_spoke_ends_the_child(start: Start) -> None:
    child = start("wait")
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(20) != 0
    assert line(child) == ""
