"""The client's side: order, limits, deadlines, hostile framing; every refusal in one shape and with a row."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy import listener
from tests.plugins.plane import Hand, Plane, carrying, how_it_ended, refused, until
from tests.plugins.rawhttp import Connection, Message, chunked, read_answer, request
from tests.plugins.tapes import Script, TapePlayer

Play = Callable[..., TapePlayer]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def echo(asked: Message) -> Script:
    """Answers with the target that it was asked for."""
    target = asked.first_line.split(b" ")[1]
    return Script([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target)])


def get(target: str) -> bytes:
    return request("GET", target)


def rejected(plane: Plane, answer: Message, reason: str) -> None:
    """One row, and nothing in flight."""
    call, reading = plane.row(answer)
    assert (reading.outcome, reading.http_status, reading.error_type) == ("rejected", answer.status, reason)
    assert call.call_id == answer.value("x-weir-call-id")
    assert plane.active == 0


# -- turns


def test_keep_alive_serves_one_request_after_the_other(plane: Plane, hand: Hand) -> None:
    with plane.connect() as client:
        client.send(get("/up/1"))
        up = hand.accept()
        for number in range(2, 12):
            assert up.request().first_line == b"GET /%d HTTP/1.1" % (number - 1)
            up.send(OK)
            answer = read_answer(client.reader, b"GET")
            assert (answer.status, answer.body, answer.value("connection")) == (200, b"ok", None)
            client.send(get(f"/up/{number}"))
    plane.wait_for_rows(11)
    plane.balanced()


def test_connection_close_is_kept(plane: Plane, hand: Hand) -> None:
    with plane.connect() as client:
        client.send(request("GET", "/up/", [(b"Connection", b"close")]))
        hand.asked(OK)
        answer = read_answer(client.reader, b"GET")
        assert answer.value("connection") == "close"
        assert how_it_ended(client) == "cut"


def test_fifty_requests_in_one_packet_are_answered_in_order(tmp_path: Path, play: Play) -> None:
    """Proxied ones and weir's own mixed, with bodies; the refusal comes in its turn and ends the connection."""
    player = play(echo)
    targets = ["/health" if number % 5 == 4 else f"/up/{number}" for number in range(49)]
    packet = b"".join(request("POST", t, body=b"x" * 20) if n % 3 == 0 else get(t) for n, t in enumerate(targets))
    with carrying(tmp_path / "data", {"up": player.url}) as plane, plane.connect() as client:
        client.send(packet + get("/up/../secret") + get("/up/never"))
        answers = [read_answer(client.reader, b"GET") for _ in targets]
        # A POST to /health is not served; which of weir's own answers it is does not matter for the order.
        own = [answer.status for answer, target in zip(answers, targets, strict=True) if target == "/health"]
        assert own.count(200) == 6
        passed = [answer.body.decode() for answer in answers if answer.value("x-weir-call-id")]
        assert passed == [target.removeprefix("/up") for target in targets if target != "/health"]
        last = read_answer(client.reader, b"GET")
        refused(last, 400, "bad_target")
        assert how_it_ended(client) == "cut"
        rejected(plane, last, "bad_target")
        plane.balanced()
    assert not [asked for asked in player.requests if b"never" in asked.first_line]


def test_a_pipelined_request_waits_until_the_answer_before_it_is_whole(plane: Plane, hand: Hand) -> None:
    with plane.connect() as client:
        client.send(get("/up/first") + get("/up/second"))
        up = hand.accept()
        assert up.request().first_line == b"GET /first HTTP/1.1"
        up.plug.settimeout(0.05)
        with pytest.raises(TimeoutError):
            up.plug.recv(1)
        assert hand.nobody_came()
        up.plug.settimeout(5)
        up.send(OK)
        assert up.request().first_line == b"GET /second HTTP/1.1"
        up.send(OK)
        assert [read_answer(client.reader, b"GET").body for _ in range(2)] == [b"ok", b"ok"]


def test_large_pipelined_bodies_are_no_large_head(tmp_path: Path, play: Play) -> None:
    """The head of the second request arrives in the same read as much of the first one's body."""
    player = play(echo)
    first = request("POST", "/up/first", body=b"x" * 120_000)
    with carrying(tmp_path / "data", {"up": player.url}) as plane, plane.connect() as client:
        second = get("/up/second")
        client.send(first + second[:20])
        assert read_answer(client.reader, b"POST").body == b"/first"
        client.send(second[20:])
        assert read_answer(client.reader, b"GET").body == b"/second"


def test_a_client_that_reads_nothing_gets_no_more_than_it_can_hold(tmp_path: Path, play: Play) -> None:
    """Back-pressure lasts over pipelined requests: the second answer is not read while the first one waits."""
    player = play([b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000])
    with carrying(tmp_path / "data", {"up": player.url}) as plane:
        with socket.socket() as plug:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plug.connect(("127.0.0.1", plane.port))
            plug.sendall(get("/up/big") * 30)
            time.sleep(0.7)

            def buffered() -> int:
                return sum(c.transport.get_write_buffer_size() for c in plane._server.server_state.connections)

            assert plane.on_loop(buffered) < 4_000_000
            assert len(player.requests) < 5
        until(lambda: not plane.active)


# -- heads


def test_head_above_the_limit_is_431(plane: Plane) -> None:
    answer = plane.ask(request("GET", "/up/", [(b"X", b"y" * 40_000)]))
    refused(answer, 431, "head_too_large")
    rejected(plane, answer, "head_too_large")


def test_many_small_headers_above_the_limit_are_431(plane: Plane) -> None:
    answer = plane.ask(request("GET", "/up/", [(b"X-%d" % n, b"y") for n in range(10_000)]))
    refused(answer, 431, "head_too_large")


def test_head_just_below_the_limit_passes(plane: Plane, hand: Hand) -> None:
    with plane.connect() as client:
        client.send(request("GET", "/up/", [(b"X", b"y" * 32_000)]))
        hand.asked(OK)
        assert read_answer(client.reader, b"GET").status == 200


def flood(client: Connection, megabytes: int) -> int:
    """Sends header bytes without end; how many the kernel took."""
    sent = 0
    try:
        while sent < megabytes << 20:
            client.send(b"x" * 65_536)
            sent += 65_536
    except OSError:
        pass
    return sent


def test_a_flood_of_header_bytes_is_cut_at_once(plane: Plane) -> None:
    with plane.connect() as client:
        client.send(b"GET /up/ HTTP/1.1\r\nHost: t\r\nX: ")
        begun = time.monotonic()
        flood(client, 1024)
        assert time.monotonic() - begun < 4
    rows = plane.wait_for_rows(1)
    assert [(r.outcome, r.error_type) for _, r in rows] == [("rejected", "head_too_large")]
    until(lambda: not plane.connections)


def test_a_flood_behind_a_running_call_is_cut_too(plane: Plane, hand: Hand) -> None:
    """The parser would hold it in memory for as long as the first answer takes."""
    with plane.connect(timeout=2) as client:
        client.send(get("/up/first"))
        up = hand.accept()
        up.request()
        client.send(b"GET /up/ HTTP/1.1\r\nHost: t\r\nX: ")
        flood(client, 8)
        held = plane.on_loop(lambda: max(c._head_bytes for c in plane._server.server_state.connections))
        assert held < 1 << 20
        up.send(OK)
        assert read_answer(client.reader, b"GET").body == b"ok"
        assert how_it_ended(client) in ("cut", "reset")


def test_head_deadline_is_for_the_whole_head(tmp_path: Path) -> None:
    """One byte now and then does not buy more time."""
    with carrying(tmp_path / "data", {"up": "http://127.0.0.1:1"}, head_timeout=0.3) as plane:
        with plane.connect() as client:
            begun = time.monotonic()
            client.send(b"GET /up/ HTTP/1.1\r\nHost: t\r\nX-Slow: ")
            client.plug.settimeout(0.05)
            answer = b""
            while not answer and time.monotonic() - begun < 3:
                client.send(b"y")
                try:
                    answer = client.plug.recv(65_536)
                except TimeoutError:
                    continue
            assert b" 408 " in answer
            assert 0.25 < time.monotonic() - begun < 1.0
            assert [r.error_type for _, r in plane.wait_for_rows(1)] == ["head_timeout"]


def test_a_silent_connection_is_closed(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "KEEP_ALIVE", 0.2)
    with plane.connect() as client:
        begun = time.monotonic()
        assert how_it_ended(client) in ("cut", "reset")
        assert 0.15 < time.monotonic() - begun < 1.5
    assert plane.outcomes() == []


# -- bodies


def test_a_body_that_stops_is_408(tmp_path: Path, hand: Hand) -> None:
    with carrying(tmp_path / "data", {"up": hand.url}, body_timeout=0.3) as plane, plane.connect() as client:
        client.send(b"POST /up/ HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc")
        up = hand.accept()
        answer = read_answer(client.reader, b"POST")
        refused(answer, 408, "body_timeout")
        assert plane.row(answer)[1].outcome == "timeout"
        assert up.closed() < 1


def test_a_slow_body_that_moves_is_not_cut(tmp_path: Path, hand: Hand) -> None:
    """Also in the middle of one HTTP chunk, which is held until it is whole."""
    with carrying(tmp_path / "data", {"up": hand.url}, body_timeout=0.25) as plane, plane.connect() as client:
        client.send(b"POST /up/ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n")
        for _ in range(16):
            time.sleep(0.04)
            client.send(b"x")
        client.send(b"\r\n0\r\n\r\n")
        up = hand.accept()
        assert up.request().chunks == [b"x" * 16]
        up.send(OK)
        assert read_answer(client.reader, b"POST").status == 200


def test_content_length_above_the_limit_is_413_before_anything_is_forwarded(tmp_path: Path, hand: Hand) -> None:
    with carrying(tmp_path / "data", {"up": hand.url}, max_request_bytes=1000) as plane:
        answer = plane.ask(b"POST /up/ HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n")
        refused(answer, 413, "body_too_large")
        rejected(plane, answer, "body_too_large")
        assert hand.nobody_came()


def test_a_chunked_upload_that_grows_above_the_limit_is_413(tmp_path: Path, hand: Hand) -> None:
    with carrying(tmp_path / "data", {"up": hand.url}, max_request_bytes=100_000) as plane, plane.connect() as client:
        client.send(b"POST /up/ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        up = hand.accept()
        for _ in range(12):
            client.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        answer = read_answer(client.reader, b"POST")
        refused(answer, 413, "body_too_large")
        rejected(plane, answer, "body_too_large")
        assert up.closed() < 1


def test_expect_100_continue_is_answered_by_weir_and_not_forwarded(plane: Plane, hand: Hand) -> None:
    with plane.connect() as client:
        client.send(b"POST /up/ HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert client.reader.line() == b"HTTP/1.1 100 Continue"
        assert client.reader.line() == b""
        client.send(b"abc")
        up = hand.accept()
        asked = up.request()
        assert (asked.body, asked.value("expect")) == (b"abc", None)
        up.send(OK)
        assert read_answer(client.reader, b"POST").status == 200


def test_a_refused_expectation_gets_no_100(plane: Plane) -> None:
    answer = plane.ask(b"POST /nowhere/ HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert answer.interim == []
    assert answer.value("x-weir-error")


def test_trailers_never_become_headers(plane: Plane, hand: Hand) -> None:
    trailer = b"0\r\nAuthorization: Bearer evil\r\nX-Weir-Session: evil\r\n\r\n"
    with plane.connect() as client:
        head = request("POST", "/up/", [(b"Transfer-Encoding", b"chunked")])
        client.send(head + b"3\r\nabc\r\n" + trailer)
        up = hand.accept()
        asked = up.request()
        assert asked.chunks == [b"abc"]
        assert b"evil" not in asked.raw
        up.send(OK)
        call, _ = plane.row(read_answer(client.reader, b"POST"))
        assert (call.key_id, call.session_source) == ("", "none")


def test_upload_chunks_keep_their_boundaries(plane: Plane, hand: Hand) -> None:
    pieces = [b"a", b"b" * 70_000, b"c" * 1_000_000, b"d"]
    with plane.connect() as client:
        client.send(request("POST", "/up/", [(b"Transfer-Encoding", b"chunked")]))
        up = hand.accept()
        for data in chunked(pieces):
            client.send(data)
        assert up.request().chunks == pieces
        up.send(OK)
        answer = read_answer(client.reader, b"POST")
        assert plane.row(answer)[1].request_bytes == sum(map(len, pieces))


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH", "OPTIONS"])
def test_any_method_may_have_a_body(plane: Plane, hand: Hand, method: str) -> None:
    with plane.connect() as client:
        client.send(request(method, "/up/x?a=1", body=b"body"))
        up = hand.accept()
        asked = up.request()
        assert (asked.first_line, asked.body) == (f"{method} /x?a=1 HTTP/1.1".encode(), b"body")
        up.send(OK)
        assert read_answer(client.reader, method.encode()).body == b"ok"


# -- answers without a body


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nX-A: 1\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 1234\r\n\r\n"),
        ("POST", b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://other.test/x\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_answers_without_a_body_pass_and_the_connection_lives_on(
    plane: Plane, hand: Hand, method: str, answer: bytes
) -> None:
    with plane.connect() as client:
        client.send(request(method, "/up/"))
        up = hand.accept()
        up.request()
        up.send(answer)
        got = read_answer(client.reader, method.encode())
        assert got.first_line == answer.partition(b"\r\n")[0]
        own = [b"%b: %b" % h for h in got.headers if h[0] != b"x-weir-call-id"]
        assert own == answer.split(b"\r\n")[1:-2]
        client.send(get("/up/next"))
        assert up.request().first_line == b"GET /next HTTP/1.1"
        up.send(OK)
        assert read_answer(client.reader, b"GET").body == b"ok"
        assert plane.row(got)[1].outcome == "ok"


def test_early_answer_while_the_request_is_still_arriving(plane: Plane, hand: Hand) -> None:
    """It passes at once; both connections end, as nobody wants the rest of the request."""
    with plane.connect() as client:
        client.send(b"POST /up/ HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        up = hand.accept()
        up.head()
        up.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nnope")
        answer = read_answer(client.reader, b"POST")
        assert (answer.status, answer.body) == (401, b"nope")
        assert how_it_ended(client) == "cut"
        assert plane.row(answer)[1].outcome == "upstream_error"
        assert plane.idle == []


def test_early_answer_with_the_request_still_in_the_buffer(plane: Plane, hand: Hand) -> None:
    """A connection whose request has not left yet serves nobody else, and the client may go on at once."""

    whole = b"".join(chunked([b"x" * (4 << 20)]))  # a chunk is held until it is whole, so its end comes with it
    with plane.connect(timeout=5) as client:
        client.send(request("POST", "/up/", [(b"Transfer-Encoding", b"chunked")]) + whole)
        up = hand.accept(buffer=4096)
        until(lambda: plane.on_loop(lambda: [e for e in plane.plane.active if e._request_done and e._held_back]))
        up.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        assert read_answer(client.reader, b"POST").status == 401
        assert plane.idle == []
        client.send(get("/up/again"))
        again = hand.accept()
        assert again.request().first_line == b"GET /again HTTP/1.1"
        again.send(OK)
        assert read_answer(client.reader, b"GET").body == b"ok"


# -- refusals

BAD_FRAMING = b"POST /up/ HTTP/1.1\r\nHost: t\r\n"
REFUSED = [
    ("HTTP/1.0", b"GET /up/ HTTP/1.0\r\nHost: t\r\n\r\n", 505, "http_version"),
    ("no Host", b"GET /up/ HTTP/1.1\r\n\r\n", 400, "bad_host"),
    ("two Hosts", b"GET /up/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_host"),
    ("Host with a path", b"GET /up/ HTTP/1.1\r\nHost: a/#@b\r\n\r\n", 400, "bad_host"),
    ("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
    ("HTTP/0.9", b"GET /up/\r\n\r\n", 505, "http_version"),
    ("h2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
    ("bare LF", b"GET /up/ HTTP/1.1\nHost: t\n\n", 400, "bad_request"),
    ("folded header", b"GET /up/ HTTP/1.1\r\nHost: t\r\nX: a\r\n b\r\n\r\n", 400, "bad_request"),
    ("NUL in a header", b"GET /up/ HTTP/1.1\r\nHost: t\r\nX: a\0b\r\n\r\n", 400, "bad_request"),
    ("TE and CL", BAD_FRAMING + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, None),
    ("two CLs", BAD_FRAMING + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, None),
    ("list of CLs", BAD_FRAMING + b"Content-Length: 3, 3\r\n\r\nabc", 400, None),
    ("signed CL", BAD_FRAMING + b"Content-Length: +3\r\n\r\nabc", 400, None),
    ("TE gzip, chunked", BAD_FRAMING + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, None),
    ("TE twice", BAD_FRAMING + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, None),
    ("bad chunk size", BAD_FRAMING + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n", 400, "bad_request"),
    ("chunk too long", BAD_FRAMING + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", 400, "bad_request"),
    (
        "chunk size overflow",
        BAD_FRAMING + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
        400,
        "bad_request",
    ),
    (
        "WebSocket",
        b"GET /up/ HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        501,
        "upgrade_not_supported",
    ),
    (
        "h2c",
        b"GET /up/ HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABk\r\n\r\n",
        501,
        "upgrade_not_supported",
    ),
    ("CONNECT", b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n", 405, "method_not_allowed"),
    ("TRACE", b"TRACE /up/ HTTP/1.1\r\nHost: t\r\n\r\n", 405, "method_not_allowed"),
    ("absolute form", b"GET http://evil.test/ HTTP/1.1\r\nHost: t\r\n\r\n", 400, "bad_target"),
    ("two slashes", b"GET //evil.test/x HTTP/1.1\r\nHost: t\r\n\r\n", 400, "bad_target"),
    ("asterisk", b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n", 400, "bad_target"),
    ("dot segments", b"GET /up/%2e%2e/admin HTTP/1.1\r\nHost: t\r\n\r\n", 400, "bad_target"),
    ("fragment", b"GET /up/x#y HTTP/1.1\r\nHost: t\r\n\r\n", 400, None),
    ("unknown upstream", b"GET /nowhere/x HTTP/1.1\r\nHost: t\r\n\r\n", 404, None),
    ("long target", b"GET /up/" + b"x" * 9000 + b" HTTP/1.1\r\nHost: t\r\n\r\n", 414, "uri_too_long"),
]


@pytest.mark.parametrize(("packet", "status", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(plane: Plane, hand: Hand, packet: bytes, status: int, reason: str | None) -> None:
    """One answer in weir's shape, one row, the connection closed, nothing asked of the upstream."""
    with plane.connect(timeout=5) as client:
        client.send(packet)
        answer = read_answer(client.reader, b"GET")
        reason = reason or str(answer.value("x-weir-error"))
        refused(answer, status, reason)
        assert answer.value("connection") == "close"
        assert how_it_ended(client) == "cut"
    rejected(plane, answer, reason)
    assert len(plane.outcomes()) == 1
    assert hand.nobody_came(0.02) or "chunk" in str(packet)


def test_a_body_that_breaks_its_framing_later_ends_the_call(plane: Plane, hand: Hand) -> None:
    """The upstream has half the request by then: it must not get an end that the client never sent."""
    with plane.connect(timeout=5) as client:
        client.send(BAD_FRAMING + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        up = hand.accept()
        client.send(b"nonsense\r\n")
        answer = read_answer(client.reader, b"POST")
        refused(answer, 400, "bad_request")
        rejected(plane, answer, "bad_request")
        assert up.closed() < 1


def test_garbage_behind_a_good_request_lets_its_answer_pass(plane: Plane, hand: Hand) -> None:
    with plane.connect(timeout=5) as client:
        client.send(get("/up/") + b"\0\0\0garbage\r\n\r\n")
        up = hand.accept()
        up.request()
        up.send(OK)
        assert read_answer(client.reader, b"GET").body == b"ok"
        assert how_it_ended(client) == "cut"
    plane.balanced()


def test_head_requests_are_refused_without_a_body(plane: Plane) -> None:
    with plane.connect() as client:
        client.send(request("HEAD", "/nowhere/"))
        answer = read_answer(client.reader, b"HEAD")
        assert answer.status == 404
        assert client.reader.until_end() == (b"", "cut")


def test_health_is_not_a_call(plane: Plane) -> None:
    answer = plane.ask(get("/health"))
    assert (answer.status, answer.body) == (200, b'{"status":"healthy","message":"weir is up and running"}')
    assert plane.outcomes() == []


def test_llmstudio_api_is_refused_in_the_same_shape(plane: Plane) -> None:
    answer = plane.ask(request("POST", "/api/engine/chat/openai", body=b"{}"))
    refused(answer, 501, "not_implemented")
