"""What goes upstream is what the client sent: order, case and duplicates of headers, any method, any body."""

from __future__ import annotations

import pytest

from tests.plugins.rawhttp import Connection, Message, chunked, read_answer, request
from tests.plugins.tapes import Script
from tests.plugins.weir_tapes import Bench

OK = [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"]


def seen(bench: Bench) -> bytes:
    assert len(bench.player.requests) == 1
    return bench.player.requests[0].raw


def test_headers_keep_order_case_and_duplicates(bench: Bench) -> None:
    bench.play(OK)
    headers = [
        b"X-API-KEY: 3f0e8c2a",
        b"accept: application/json",
        b"X-Initiator: SDK-PY",
        b"Accept-Encoding: gzip, deflate, br",
        b"x-dup: one",
        b"X-Dup: two",
        b"COOKIE: a=b",
        b"Authorization: 3f0e8c2a",
        b"User-Agent: t/1.0 (x; y)",
        b"x-empty: ",
        b"content-length: 4",
    ]
    sent = b"\r\n".join([b"POST /raw/v1/x?b=2&a=%2F&empty= HTTP/1.1", b"HoSt: t", *headers, b"", b"a\x00\xffz"])
    bench.through(sent)
    host = b"HoSt: " + bench.player.authority
    assert seen(bench) == b"\r\n".join([b"POST /v1/x?b=2&a=%2F&empty= HTTP/1.1", host, *headers, b"", b"a\x00\xffz"])


def test_an_empty_key_passes(bench: Bench) -> None:
    """vision-chat's own example sends its key header without a value."""
    bench.play(OK)
    bench.through(b"POST /vision/api/vision-chat HTTP/1.1\r\nHost: t\r\nX-API-KEY:\r\nContent-Length: 2\r\n\r\n{}")
    assert bench.player.requests[0].values("x-api-key") == [b""]


def test_labels_are_taken_out_and_recorded(bench: Bench) -> None:
    bench.play(OK)
    labels = [(b"X-Weir-Session", b"s-1"), (b"x-weir-project", b"search"), (b"x-weir-user", b"u1"), (b"x-other", b"z")]
    row = bench.row(bench.through(request("POST", "/raw/v1/x", labels, b"{}")))
    assert (row["session_id"], row["project"], row["user_id"]) == ("s-1", "search", "u1")
    assert b"weir" not in seen(bench).lower()
    assert b"x-other: z\r\n" in seen(bench)


def test_labels_in_the_path(bench: Bench) -> None:
    bench.play(OK)
    target = "/with/session=a%2Fb,project=p/raw/v1/x"
    row = bench.row(bench.through(request("POST", target, [], b"{}")))
    assert (row["session_id"], row["session_source"], row["project"]) == ("a/b", "path", "p")
    assert seen(bench).startswith(b"POST /v1/x HTTP/1.1\r\n")


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH", "PUT", "POST", "OPTIONS"])
def test_any_method_with_a_body(bench: Bench, method: str) -> None:
    """LLMstudio's tracker reads a JSON body from GET and DELETE."""
    bench.play(OK)
    body = b'{"prompt_id": "7"}'
    answer = bench.through(request(method, "/raw/api/tracking/get/prompt", [], body))
    assert answer.status == 200
    assert seen(bench).startswith(f"{method} /api/tracking/get/prompt HTTP/1.1\r\n".encode())
    assert bench.player.requests[0].body == body


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_any_method_without_a_body(bench: Bench, method: str) -> None:
    bench.play(OK)
    assert bench.through(request(method, "/raw/v1/x")).status == 200
    assert seen(bench) == f"{method} /v1/x HTTP/1.1\r\nHost: {bench.player.authority.decode()}\r\n\r\n".encode()


def test_an_upload_that_waits_for_100_continue(bench: Bench) -> None:
    bench.play(OK)
    head = b"POST /raw/v1/x HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    with Connection(bench.weir.proxy_port) as connection:
        connection.send(head)
        assert connection.reader.line() == b"HTTP/1.1 100 Continue"
        assert connection.reader.line() == b""
        answer = connection.ask(b"hello")
    assert answer.status == 200
    assert bench.player.requests[0].body == b"hello"
    assert bench.player.requests[0].values("expect") == []


def test_an_interim_answer_is_not_the_answer(bench: Bench) -> None:
    """RFC 9110 section 15.2: 1xx answers may come before any final one."""
    bench.play([b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", *OK])
    answer = bench.through(request("POST", "/raw/v1/x", [], b"{}"))
    assert (answer.status, answer.body) == (200, b"{}")
    assert bench.row(answer)["http_status"] == 200


def test_a_large_upload(bench: Bench) -> None:
    bench.play(OK)
    body = b'{"input": "' + b"z" * (8 << 20) + b'"}'
    assert bench.through(request("POST", "/raw/v1/embeddings", [], body)).status == 200
    assert bench.player.requests[0].body == body


def test_a_chunked_upload_says_so_once(bench: Bench) -> None:
    bench.play(OK)
    head = b"POST /raw/v1/x HTTP/1.1\r\nHost: t\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\nX-B: 2\r\n\r\n"
    bench.through([head, *chunked([b"{}"])])
    expected = b"POST /v1/x HTTP/1.1\r\nHost: %b\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\nX-B: 2\r\n\r\n"
    assert seen(bench) == expected % bench.player.authority + b"2\r\n{}\r\n0\r\n\r\n"


def test_many_requests_over_one_connection(bench: Bench) -> None:
    bench.play(OK)
    with Connection(bench.weir.proxy_port) as connection:
        answers = [connection.ask(request("POST", f"/raw/v1/x?n={n}", [], b"{}")) for n in range(20)]
        assert {answer.status for answer in answers} == {200}
        assert len({answer.value("x-weir-call-id") for answer in answers}) == 20
        assert connection.quiet()
    assert [message.first_line for message in bench.player.requests] == [
        f"POST /v1/x?n={n} HTTP/1.1".encode() for n in range(20)
    ]


def test_requests_sent_without_waiting_are_answered_in_order(bench: Bench) -> None:
    def echo(message: Message) -> Script:
        number = message.first_line.split(b"n=")[1].split(b" ")[0]
        return Script([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(number), number)])

    bench.play(echo)
    with Connection(bench.weir.proxy_port) as connection:
        connection.send(b"".join(request("POST", f"/raw/v1/x?n={n}", [], b"{}") for n in range(5)))
        answers = [read_answer(connection.reader, b"POST") for _ in range(5)]
    assert [answer.body for answer in answers] == [b"0", b"1", b"2", b"3", b"4"]
