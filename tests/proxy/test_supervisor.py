"""The parent of them all: clear errors at the start, children that come back, and an orderly end."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.settings import Settings
from proxy.supervisor import FIRST_DELAY, MAX_DELAY, YOUNG, Child, StartError, Supervisor, bind
from tests.plugins.plane import Hand, until
from tests.plugins.rawhttp import Connection, Message, chunked, read_answer, request
from tests.plugins.tapes import Script, TapePlayer
from tests.plugins.weir import ROOT, Weir, running
from tests.plugins.weir_children import children, kill, runs

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def get(target: str = "/up/", key: str = "a") -> bytes:
    return request("GET", target, [(b"Authorization", b"Bearer " + key.encode())])


# -- what keeps it from starting


def settings(folder: Path, port: int = 0) -> Settings:
    return Settings.model_validate({"data": folder, "proxy": {"port": port}, "admin": {"port": 0}})


def test_a_port_in_use_is_an_error_that_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=f"127.0.0.1:{port}") as error:
            bind("127.0.0.1", port, "proxy.port")
        assert "proxy.port" in error.value.hint


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(StartError, match=r"192\.0\.2\.1:0"):
        bind("192.0.2.1", 0, "proxy.port")


def test_a_name_that_does_not_resolve_is_an_error() -> None:
    with pytest.raises(StartError, match=r"nobody\.invalid"):
        bind("nobody.invalid", 0, "proxy.port")


def test_a_data_folder_in_use_is_an_error(tmp_path: Path) -> None:
    first = Supervisor(settings(tmp_path / "data"))
    with pytest.raises(StartError, match="another weir already runs") as error:
        Supervisor(settings(tmp_path / "data"))
    assert "--data" in error.value.hint
    os.close(first._lock)
    for sock in first._sockets:
        sock.close()


@pytest.mark.parametrize("what", ["a file", "below a file"])
def test_a_data_folder_that_cannot_be_is_an_error(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("x", encoding="ascii")
    folder = tmp_path / "file" if what == "a file" else tmp_path / "file" / "data"
    with pytest.raises(StartError, match="data folder"):
        Supervisor(settings(folder))


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy", "serve", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip


def test_the_command_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = serve("--port", port, "--admin-port", "0", "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


# -- starting again


def test_a_child_that_keeps_dying_is_started_less_and_less_often() -> None:
    child = Child("x", "proxy.worker", [], 0)
    delays = []
    for _ in range(12):
        child.schedule(child.started_at + 0.1)
        delays.append(child.delay)
    assert delays[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert delays[-1] == MAX_DELAY
    child.schedule(child.started_at + YOUNG + 1)
    assert child.delay == FIRST_DELAY


@pytest.fixture(scope="module")
def module_hand() -> Iterator[Hand]:
    hand = Hand()
    yield hand
    hand.close()


@pytest.fixture(scope="module")
def player() -> Iterator[TapePlayer]:
    player = TapePlayer(Script([OK]))
    yield player
    player.close()


@pytest.fixture(scope="module")
def two_workers(
    tmp_path_factory: pytest.TempPathFactory, module_hand: Hand, player: TapePlayer
) -> Iterator[tuple[Weir, Hand]]:
    upstreams = {name: {"base_url": up.url, "estimate": "off"} for name, up in (("up", module_hand), ("quick", player))}
    with running(tmp_path_factory.mktemp("weir"), upstreams, proxy={"workers": 2}) as weir:
        yield weir, module_hand


def test_a_killed_worker_leaves_one_row_a_call_and_comes_back(two_workers: tuple[Weir, Hand]) -> None:
    """Its streams end broken; the other worker's go on; and within two seconds there are two again."""
    weir, hand = two_workers
    streams: list[tuple[Connection, str]] = []
    ups = []
    for number in range(12):
        client = Connection(weir.proxy_port)
        client.send(get(key=f"stream {number}"))
        ups.append(hand.accept())
        ups[-1].request()
        ups[-1].send(HEAD + b"3\r\nabc\r\n")
        while b"abc\r\n" not in client.reader.seen:
            client.reader._more()
        call_id = client.reader.seen.partition(b"x-weir-call-id: ")[2][:36].decode()
        streams.append((client, call_id))
    victim, other = children(weir, "proxy.worker")
    kill(victim)
    killed = time.monotonic()
    until(lambda: set(now := children(weir, "proxy.worker")) >= {other} and len(now) == 2 and victim not in now)
    back = time.monotonic() - killed
    with Connection(weir.proxy_port) as client:
        assert client.ask(get("/quick/")).body == b"ok"
    for up in ups:
        try:
            up.send(*chunked([b"def"]))
        except OSError:
            continue
    answers = [read_answer(client.reader, b"GET") for client, _ in streams]
    ended = Counter(answer.ended for answer in answers)
    outcomes = {}
    for (_, call_id), answer in zip(streams, answers, strict=True):
        row = weir.row(call_id)
        outcomes[call_id] = row["outcome"]
        assert row["outcome"] == ("ok" if answer.ended == "clean" else "interrupted")
    print(f"killed worker back after {back:.2f} s; streams {dict(ended)}, rows {Counter(outcomes.values())}")
    assert back < 2
    assert other in children(weir, "proxy.worker")
    listed = ", ".join(f"'{call_id}'" for call_id in outcomes)
    assert len(weir.rows(f"call_id IN ({listed})")) == 12
    for client, _ in streams:
        client.close()


def test_callers_wait_while_no_worker_is_there(two_workers: tuple[Weir, Hand]) -> None:
    """Both are killed at once: callers wait in the listening socket's queue, and none is refused."""
    weir, _ = two_workers
    for victim in children(weir, "proxy.worker"):
        kill(victim)
    killed = time.monotonic()
    with Connection(weir.proxy_port, timeout=25) as client:
        assert client.ask(get("/quick/")).body == b"ok"
    took = time.monotonic() - killed
    print(f"both workers killed: the next call was answered after {took:.2f} s")
    assert took < 20  # two seconds on a machine that does nothing else; this one runs other tests as well
    until(lambda: len(children(weir, "proxy.worker")) == 2, timeout=10)


@pytest.mark.timeout(150)  # the recorder starts with a low priority
def test_a_killed_recorder_loses_and_doubles_nothing(two_workers: tuple[Weir, Hand]) -> None:
    weir, _ = two_workers
    answers: list[Message] = []
    stop = threading.Event()

    def call(name: str) -> None:
        with Connection(weir.proxy_port) as client:
            while not stop.is_set():
                answers.append(client.ask(get("/quick/", name)))
                time.sleep(0.004)

    threads = [threading.Thread(target=call, args=(f"load {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        (recorder,) = until(lambda: children(weir, "proxy.recorder"), timeout=10)
        time.sleep(0.5)
        kill(recorder)
        until(lambda gone=recorder: not runs(gone, "proxy.recorder"))
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    ids = [answer.value("x-weir-call-id") for answer in answers]
    assert {answer.status for answer in answers} == {200}
    assert len(set(ids)) == len(ids) > 100
    until(lambda: children(weir, "proxy.recorder"), timeout=15)
    weir.wait(lambda: set(ids) <= {row["call_id"] for row in weir.rows()}, timeout=100)
    counts = Counter(row["call_id"] for row in weir.rows())
    assert {counts[call_id] for call_id in ids} == {1}
    print(f"{len(ids)} calls over three kills of the recorder: all there once")


# -- the end


def test_sigterm_refuses_new_connections_finishes_calls_and_breaks_off_endless_ones(tmp_path: Path, hand: Hand) -> None:
    upstream = {"base_url": hand.url, "estimate": "off"}
    with running(tmp_path, {"up": upstream}, proxy={"drain_timeout": 1.5}) as weir:
        clients = []
        ups = []
        for number in range(10):
            clients.append(Connection(weir.proxy_port))
            clients[-1].send(get(key=str(number)))
            ups.append(hand.accept())
            ups[-1].request()
            ups[-1].send(HEAD + b"3\r\nabc\r\n")
        (recorder,) = children(weir, "proxy.recorder")
        weir.process.terminate()
        asked = time.monotonic()
        until(lambda: not _accepts(weir.proxy_port), timeout=1.2)
        for up in ups[:5]:
            up.send(*chunked([b"def"]))
        answers = [read_answer(client.reader, b"GET") for client in clients]
        assert [answer.ended for answer in answers[:5]] == ["clean"] * 5
        assert {answer.ended for answer in answers[5:]} <= {"cut", "reset"}
        assert weir.process.wait(30) == 0
        print(f"stopped in {time.monotonic() - asked:.2f} s with drain_timeout 1.5 s")
        assert not runs(recorder, "proxy.recorder")
        rows = weir.rows()
        assert Counter((row["outcome"], row["error_type"]) for row in rows) == {
            ("ok", None): 5,
            ("interrupted", "shutdown"): 5,
        }
        for client in clients:
            client.close()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.timeout(150)
def test_a_second_sigterm_does_not_wait_and_a_killed_supervisor_takes_all_with_it(tmp_path: Path, hand: Hand) -> None:
    """Whatever way it ends, the next start knows of every call."""
    weir = Weir(tmp_path, {"up": {"base_url": hand.url, "estimate": "off"}}, proxy={"drain_timeout": 20}).start()
    with Connection(weir.proxy_port) as client:
        client.send(get(key="1"))
        up = hand.accept()
        up.request()
        up.send(HEAD + b"3\r\nabc\r\n")
        weir.process.terminate()
        time.sleep(0.3)
        asked = time.monotonic()
        weir.process.send_signal(signal.SIGTERM)
        assert weir.process.wait(20) == 0
        print(f"second SIGTERM: ended after {time.monotonic() - asked:.2f} s")
        assert read_answer(client.reader, b"GET").ended in ("cut", "reset")
    weir.start()
    with Connection(weir.proxy_port) as client:
        client.send(get(key="2"))
        up = hand.accept()
        up.request()
        up.send(HEAD + b"3\r\nabc\r\n")
        pids = [*children(weir, "proxy.worker"), *children(weir, "proxy.recorder")]
        assert len(pids) == 2
        kill(weir.process.pid)
        weir.process.wait()
        until(lambda: not _accepts(weir.proxy_port), timeout=5)
        up.send(*chunked([b"def"]))
        answer = read_answer(client.reader, b"GET")
        assert (answer.body, answer.ended) == (b"abcdef", "clean")
        until(lambda: not [pid for pid in pids if runs(pid, "proxy.worker") or runs(pid, "proxy.recorder")], timeout=25)
    weir.start()
    rows = weir.wait_for_rows(2)
    assert [row["outcome"] for row in rows] == ["interrupted", "ok"]
    assert weir.stop() == 0
    with sqlite3.connect(weir.database) as connection:
        assert connection.execute("SELECT count(*) FROM calls").fetchone() == (2,)
    connection.close()
