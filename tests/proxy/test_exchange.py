"""One call carried through: boundaries, back-pressure, and what is left when the client leaves."""

from __future__ import annotations

import itertools
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.plane import Hand, LoneWorker, Plane, carrying, until, working
from tests.plugins.rawhttp import Connection, chunked, read_answer, request
from tests.plugins.tapes import Script, TapePlayer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CANCELS = int(os.environ.get("WEIR_TEST_CANCELS", "2000"))


def get(target: str = "/up/", key: bytes = b"a") -> bytes:
    return request("GET", target, [(b"Authorization", b"Bearer " + key)])


def pieces(data: bytes, rng: random.Random, count: int) -> list[bytes]:
    """`data` cut into some `count` pieces at random places."""
    cuts = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(count - 1))})
    return [data[a:b] for a, b in itertools.pairwise(cuts)]


# -- chunk boundaries


@pytest.mark.parametrize("size", [1, 65_536, 1 << 20, 6 << 20])
def test_a_chunk_of_any_size_stays_one_chunk(plane: Plane, hand: Hand, size: int) -> None:
    """Over many TCP writes, cut anywhere, also within its size line and its end."""
    rng = random.Random(size)
    body = [b"a", rng.randbytes(size), b"{}\n", rng.randbytes(100)]
    wire = b"".join(chunked(body))
    with plane.connect() as client:
        client.send(get())
        up = hand.accept()
        up.request()
        sending = threading.Thread(target=up.send, args=(HEAD, *pieces(wire, rng, 60)), kwargs={"gap": 0.0005})
        sending.start()
        answer = read_answer(client.reader, b"GET")
        sending.join()
        assert [len(chunk) for chunk in answer.chunks] == [len(chunk) for chunk in body]
        assert answer.chunks == body
        _, reading = plane.row(answer)
        assert (reading.outcome, reading.chunks, reading.response_bytes) == ("ok", 4, sum(map(len, body)))


def test_every_cut_of_a_small_answer_gives_the_same_chunks(tmp_path: Path) -> None:
    """Byte by byte, in twos, in threes …: the same chunks, and extensions and trailers stay behind."""
    wire = b"3;x=1\r\nabc\r\n00a\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n"
    player = TapePlayer(Script([]))
    with carrying(tmp_path / "d", {"up": player.url}) as plane, plane.connect() as client:
        for size in (*range(1, 12), len(wire)):
            player.play(Script([HEAD, *(wire[at : at + size] for at in range(0, len(wire), size))], gap=0.0003))
            answer = client.ask(get())
            assert (answer.chunks, answer.trailers, answer.ended) == ([b"abc", b"0123456789"], [], "clean")
        plane.balanced()
    player.close()


def test_each_event_arrives_before_the_next_is_sent(plane: Plane, hand: Hand) -> None:
    """Nothing is held back for more: a chunk that went in comes out, and half a chunk does too."""
    with plane.connect(timeout=2) as client:
        client.send(get())
        up = hand.accept()
        up.request()
        up.send(HEAD)
        while client.reader.line():
            pass
        for number in range(20):
            up.send(b"8\r\nevent %02d\r\n" % number)
            assert client.reader.take(13) == b"8\r\nevent %02d\r\n" % number
        up.send(b"10\r\nhalf of ")
        assert client.reader.take(12) == b"10\r\nhalf of "
        up.send(b"a chunk\n\r\n0\r\n\r\n")
        assert client.reader.take(15) == b"a chunk\n\r\n0\r\n\r\n"[:15]
    plane.wait_for_rows(1)


# -- back-pressure, in a worker of its own so that its memory can be seen


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, module_hand: Hand) -> Iterator[LoneWorker]:
    upstream = {"base_url": module_hand.url, "estimate": "off"}
    with working(tmp_path_factory.mktemp("worker"), {"up": upstream}) as started:
        yield started


@pytest.fixture(scope="module")
def module_hand() -> Iterator[Hand]:
    hand = Hand()
    yield hand
    hand.close()


def slow_client(port: int) -> socket.socket:
    plug = socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plug.settimeout(10)
    plug.connect(("127.0.0.1", port))
    return plug


def pour(plug: socket.socket, data: bytes, limit: int) -> int:
    """Sends until nothing is taken for a quarter of a second, for two seconds at most; how much was taken."""
    end = time.monotonic() + 2
    plug.settimeout(0.25)
    sent = 0
    try:
        while sent < limit and time.monotonic() < end:
            sent += plug.send(data)
    except (TimeoutError, ConnectionError):
        pass
    return sent


def test_a_slow_reader_stops_the_upstream_and_memory_stays_flat(worker: LoneWorker, module_hand: Hand) -> None:
    hand = module_hand
    before = worker.memory
    clients = [slow_client(worker.port) for _ in range(5)]
    taken = 0
    for client in clients:
        client.sendall(get())
        up = hand.accept()
        up.request()
        up.plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        up.send(HEAD + b"fffffff\r\n")
        taken += pour(up.plug, b"x" * 65_536, 64 << 20)
    grown = worker.memory - before
    print(f"5 slow readers: upstreams could send {taken >> 10} KiB, the worker grew by {grown >> 10} KiB")
    assert taken < 5 * (12 << 20)  # what the kernel's own buffers hold, four of them in a row
    assert grown < 16 << 20
    for client in clients:
        client.close()
    ends = [(r.outcome, r.http_status) for _, r in worker.wait_for_rows(5)]
    assert ends == [("client_closed", 200)] * 5


def test_a_slow_reader_gets_all_of_it(worker: LoneWorker, module_hand: Hand) -> None:
    """Pausing and going on loses nothing and changes nothing."""
    hand = module_hand
    body = random.Random(7).randbytes(6_000_000)
    client = slow_client(worker.port)
    client.sendall(get(key=b"all of it"))
    up = hand.accept()
    up.request()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    sending = threading.Thread(target=up.send, args=(head, body))
    sending.start()
    time.sleep(0.3)
    got = bytearray()
    while not got.endswith(body[-32:]):
        got += client.recv(1 << 18)
    sending.join()
    assert got.partition(b"\r\n\r\n")[2] == body
    client.close()


def test_a_slow_upstream_stops_the_client_and_memory_stays_flat(worker: LoneWorker, module_hand: Hand) -> None:
    hand = module_hand
    before = worker.memory
    taken = 0
    plugs, ups = [], []
    for _ in range(5):
        plug = socket.create_connection(("127.0.0.1", worker.port))
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        plugs.append(plug)
        plug.sendall(b"POST /up/ HTTP/1.1\r\nHost: t\r\nContent-Length: 30000000\r\n\r\n")
        ups.append(hand.accept(buffer=4096))
        taken += pour(plug, b"x" * 65_536, 29_000_000)
    grown = worker.memory - before
    print(f"5 stalled uploads: clients could send {taken >> 10} KiB, the worker grew by {grown >> 10} KiB")
    assert taken < 5 * (12 << 20)
    # The meter keeps a copy of what it will read, proxy.meter_request_bytes of each request at most.
    assert grown < taken + (16 << 20)
    for plug in plugs:
        plug.close()
    for up in ups:
        up.reset()


def test_an_upload_arrives_whole_at_a_slow_upstream(worker: LoneWorker, module_hand: Hand) -> None:
    hand = module_hand
    body = random.Random(9).randbytes(9_000_000)
    with Connection(worker.port) as client:
        sending = threading.Thread(target=client.send, args=(request("POST", "/up/", [(b"Api-Key", b"slow")], body),))
        sending.start()
        up = hand.accept(buffer=4096)
        time.sleep(0.3)
        up.plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        assert up.request().body == body
        sending.join()
        up.send(OK)
        assert read_answer(client.reader, b"POST").body == b"ok"


def test_a_client_that_never_reads_has_a_deadline(tmp_path: Path, hand: Hand) -> None:
    """Or it would keep its place among proxy.max_streams for ever."""
    with carrying(tmp_path / "d", {"up": hand.url}, idle_timeout=0.4, head_timeout=0.4) as plane:
        client = slow_client(plane.port)
        client.sendall(get())
        up = hand.accept()
        up.request()
        up.send(HEAD + b"fffffff\r\n")
        pour(up.plug, b"x" * 65_536, 64 << 20)
        assert up.closed() < 2
        rows = plane.wait_for_rows(1)
        assert [(r.outcome, r.error_type) for _, r in rows] == [("client_closed", "client_stalled")]
        until(lambda: not plane.connections)
        client.close()


def test_an_upstream_that_never_takes_the_request_has_a_deadline(tmp_path: Path, hand: Hand) -> None:
    with carrying(tmp_path / "d", {"up": hand.url}, body_timeout=0.4) as plane, plane.connect() as client:
        client.send(b"POST /up/ HTTP/1.1\r\nHost: t\r\nContent-Length: 30000000\r\n\r\n")
        up = hand.accept(buffer=4096)
        pour(client.plug, b"x" * 65_536, 29_000_000)
        client.plug.settimeout(5)
        answer = read_answer(client.reader, b"POST")
        assert (answer.status, answer.value("x-weir-error")) == (504, "upload_stalled")
        assert up.closed() < 3


def test_back_pressure_holds_when_connecting_took_long(tmp_path: Path, hand: Hand) -> None:
    """Bytes that waited for the connection may fill it at once: reading must not go on then."""
    with carrying(tmp_path / "d", {"up": hand.url}) as plane, plane.connect() as client:
        plane.on_loop(lambda: _slow_connect(plane))
        client.send(b"POST /up/ HTTP/1.1\r\nHost: t\r\nContent-Length: 30000000\r\n\r\n")
        hand._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        taken = pour(client.plug, b"x" * 65_536, 29_000_000)
        waiting = plane.on_loop(lambda: [e._connection._transport.get_write_buffer_size() for e in plane.plane.active])  # type: ignore[union-attr]
        print(f"slow connect: {taken >> 10} KiB taken, {waiting[0] >> 10} KiB waiting")
        assert waiting[0] < 2 << 20


def _slow_connect(plane: Plane) -> None:
    import asyncio

    pool = plane.plane._line.pool
    connect = pool.connect

    async def later(*args: object) -> object:
        await asyncio.sleep(0.1)
        return await connect(*args)  # type: ignore[arg-type]

    pool.connect = later  # type: ignore[method-assign,assignment]


# -- the client leaves


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("when", ["before the first byte", "mid-stream", "between two answers' bytes of a length"])
def test_a_client_that_leaves_takes_the_upstream_call_with_it(plane: Plane, hand: Hand, when: str, how: str) -> None:
    client = plane.connect()
    client.send(get())
    up = hand.accept()
    up.request()
    if when == "mid-stream":
        up.send(HEAD + b"3\r\nabc\r\n")
        assert client.plug.recv(1000)
    elif when.startswith("between"):
        up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        assert client.plug.recv(1000)
    if how == "reset":
        client.plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    client.close()
    assert up.closed() <= 0.25
    (_, reading), *more = plane.wait_for_rows(1)
    assert (reading.outcome, reading.error_type) == ("client_closed", "client_closed")
    assert reading.http_status == (None if when.startswith("before") else 200)
    plane.balanced()
    assert not more
    assert plane.idle == []


def test_a_client_that_leaves_while_connecting_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for plug in waiting:
            plug.setblocking(False)
            plug.connect_ex(full.getsockname())
        time.sleep(0.05)
        with carrying(tmp_path / "d", {"up": f"http://127.0.0.1:{full.getsockname()[1]}"}) as plane:
            client = plane.connect()
            client.send(get())
            until(lambda: plane.active)
            client.close()
            until(lambda: not plane.active, timeout=1)
            assert [r.outcome for _, r in plane.wait_for_rows(1)] == ["client_closed"]
        for plug in waiting:
            plug.close()


def answer_at_random(seed: int) -> TapePlayer:
    rng = random.Random(seed)
    body = chunked([b"data: x\n\n"] * 8)
    return TapePlayer(lambda _: Script([HEAD, *body], gap=rng.choice([0, 0, 0.001, 0.004])))


def test_many_cancels_at_random_moments_leave_nothing_behind(tmp_path: Path) -> None:
    """No connection, no descriptor, no active call; one row each; and a fresh call works."""
    player = answer_at_random(1)
    with working(tmp_path, {"up": {"base_url": player.url, "estimate": "off"}}) as worker:
        warm = worker.connect()
        assert warm.ask(get()).ended == "clean"
        workers, before = 8, worker.descriptors

        def cancel(seed: int) -> None:
            rng = random.Random(seed)
            for _ in range(CANCELS // workers):
                plug = socket.create_connection(("127.0.0.1", worker.port))
                asked = request("POST", "/up/", [(b"Authorization", b"Bearer %d" % rng.randrange(4))], b"{}" * 50)
                plug.sendall(asked[: rng.choice([len(asked), len(asked), len(asked) - 10])])
                time.sleep(rng.random() * 0.012)
                if rng.random() < 0.5:
                    plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                plug.close()

        threads = [threading.Thread(target=cancel, args=(seed,)) for seed in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for _ in range(30):
            assert warm.ask(get()).ended == "clean"
        # What stays are idle connections to the upstream, for the five keys: as many as were in use at one time.
        until(lambda: worker.descriptors <= before + 5 * workers)
        warm.close()
        code = worker.stop()
    assert code == 0
    outcomes = worker.outcomes()
    numbers = sorted(call.seq for call, _ in outcomes)
    assert numbers == list(range(1, len(numbers) + 1))
    # A connection that is reset before weir has accepted it is no call.
    assert CANCELS * 8 // 10 < len(numbers) <= CANCELS + 31
    ends = Counter(reading.outcome for _, reading in outcomes)
    print(f"{CANCELS} cancels: {dict(ends)}")
    assert set(ends) == {"ok", "client_closed"}
    player.close()
