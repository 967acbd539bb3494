"""One data-plane process: how it drains, how it dies, and what it leaves behind each time."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from proxy.worker import read_secret
from store.journal import JournalReader, Kind, boots
from tests.plugins.plane import Hand, LoneWorker, until, working
from tests.plugins.rawhttp import chunked, read_answer, request
from tests.plugins.tapes import TapePlayer

Play = Callable[..., TapePlayer]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def get(target: str = "/up/") -> bytes:
    return request("GET", target)


def begun(worker: LoneWorker, hand: Hand, count: int) -> tuple[list, list]:  # type: ignore[type-arg]
    """Streams whose first chunk has passed: clients and upstream connections."""
    clients = [worker.connect() for _ in range(count)]
    for client in clients:
        client.send(get())
    ups = [hand.accept() for _ in clients]
    for up in ups:
        up.request()
        up.send(HEAD + b"3\r\nabc\r\n")
    for client in clients:
        while b"abc\r\n" not in client.reader.seen:
            client.reader._more()
    return clients, ups


def test_sigterm_lets_short_streams_finish_and_breaks_off_endless_ones(tmp_path: Path, hand: Hand) -> None:
    with working(tmp_path / "d", {"up": {"base_url": hand.url, "estimate": "off"}}, drain_timeout=1.0) as worker:
        clients, ups = begun(worker, hand, 20)
        idle = worker.connect()
        worker.process.terminate()
        asked = time.monotonic()

        def go_on() -> None:
            time.sleep(0.3)
            for up in ups[:10]:
                up.send(*chunked([b"def"]))

        threading.Thread(target=go_on).start()
        short = [read_answer(client.reader, b"GET") for client in clients[:10]]
        assert [(answer.body, answer.ended) for answer in short] == [(b"abcdef", "clean")] * 10
        endless = [read_answer(client.reader, b"GET") for client in clients[10:]]
        assert {(answer.body, answer.ended) for answer in endless} <= {(b"abc", "cut"), (b"abc", "reset")}
        code = worker.process.wait(10)
        took = time.monotonic() - asked
        print(f"drained in {took:.2f} s with drain_timeout 1 s")
        assert code == 0
        assert took < 1.0 + 3
        ends = [(r.outcome, r.error_type) for _, r in worker.outcomes()]
        assert sorted(ends, key=str) == sorted([("ok", None)] * 10 + [("interrupted", "shutdown")] * 10, key=str)
        assert all(up.closed() < 1 for up in ups[10:])
        for client in (*clients, idle):
            client.close()


def test_a_drain_with_nothing_to_do_is_quick(tmp_path: Path, hand: Hand) -> None:
    with working(tmp_path / "d", {"up": hand.url}) as worker:
        idle = worker.connect()
        idle.send(get("/health"))
        read_answer(idle.reader, b"GET")
        asked = time.monotonic()
        worker.process.terminate()
        assert idle.reader.until_end() == (b"", "cut")
        assert worker.process.wait(5) == 0
        assert time.monotonic() - asked < 3
        idle.close()


def test_the_end_of_standard_input_is_the_end_of_the_supervisor(tmp_path: Path, hand: Hand) -> None:
    """Running calls finish all the same."""
    with working(tmp_path / "d", {"up": hand.url}) as worker:
        (client,), (up,) = begun(worker, hand, 1)
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        time.sleep(0.2)
        up.send(*chunked([b"def"]))
        assert read_answer(client.reader, b"GET").body == b"abcdef"
        assert worker.process.wait(10) == 0
        assert [r.outcome for _, r in worker.outcomes()] == ["ok"]
        client.close()


def test_kill_9_leaves_the_intents_and_lets_go_of_the_journal(tmp_path: Path, hand: Hand) -> None:
    """The next worker serves on the same socket, with a journal of its own."""
    with working(tmp_path / "d", {"up": hand.url}) as worker:
        clients, _ = begun(worker, hand, 5)
        root = tmp_path / "d" / "journal"
        (boot,) = boots(root)
        assert JournalReader(root / boot).writer_alive()
        worker.process.kill()
        worker.process.wait()
        for client in clients:
            assert read_answer(client.reader, b"GET").ended in ("cut", "reset")
            client.close()
        assert not JournalReader(root / boot).writer_alive()
        kinds = [entry.kind for entry in worker.entries()]
        assert kinds.count(Kind.INTENT) == 5
        assert Kind.OUTCOME not in kinds
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        worker.start()
        with worker.connect() as client:
            client.send(get())
            hand.asked(OK)
            assert read_answer(client.reader, b"GET").body == b"ok"
        assert len(boots(root)) == 2


def test_two_workers_share_the_port(tmp_path: Path, play: Play) -> None:
    """Each with its own journal: while one stands still, the other serves."""
    player = play([OK])
    with working(tmp_path / "d", {"up": player.url}) as worker:
        second = LoneWorker(tmp_path / "d", {"up": player.url})
        second.share(worker)
        second.start()
        ids = set()
        for standing in (worker.process, second.process):
            standing.send_signal(signal.SIGSTOP)
            for _ in range(4):
                with worker.connect() as client:
                    ids.add(client.ask(get()).value("x-weir-call-id"))
            standing.send_signal(signal.SIGCONT)
        rows = worker.wait_for_rows(8)
        assert {call.call_id for call, _ in rows} == ids
        assert sorted(Counter(call.boot_id for call, _ in rows).values()) == [4, 4]
        second.stop()


def test_the_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    first = read_secret(data)
    assert len(first) == 32
    assert read_secret(data) == first
    assert stat.S_IMODE((data / "secret").stat().st_mode) == 0o600
    assert os.listdir(data) == ["secret"]


def test_workers_that_start_together_agree_on_the_secret(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(read_secret(tmp_path / "d"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_the_journal_is_for_its_owner_alone(tmp_path: Path, hand: Hand) -> None:
    with working(tmp_path / "d", {"up": hand.url}) as worker:
        with worker.connect() as client:
            client.send(
                request("GET", "/up/?key=sk-query-0123456789", [(b"Authorization", b"Bearer sk-head-0123456789")])
            )
            hand.asked(OK)
            read_answer(client.reader, b"GET")
        until(worker.outcomes)
        files = [path for path in (tmp_path / "d" / "journal").rglob("*") if path.is_file()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert not [path for path in files if b"0123456789" in path.read_bytes()]
