"""What the client gets is what the upstream sent: statuses, headers, bodies, and the way they end."""

from __future__ import annotations

import gzip
import json
import zlib

import brotli
import pytest

from proxy.simulator.coding import encoder
from tests.plugins.rawhttp import Connection, chunked, request
from tests.plugins.tapes import Script
from tests.plugins.weir_tapes import Bench

BODY = b'{"error":"x"}'
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "a b"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}


def post(prefix: str) -> bytes:
    return request("POST", f"{prefix}/v1/chat/completions", [], b'{"model":"gpt-4o","messages":[]}')


def get(prefix: str) -> bytes:
    return request("GET", f"{prefix}/v1/files/1")


def head(prefix: str) -> bytes:
    return request("HEAD", f"{prefix}/v1/files/1")


def reply(status: str, *headers: bytes, body: bytes = b"") -> list[bytes]:
    return [b"\r\n".join([b"HTTP/1.1 " + status.encode(), *headers, b"", body])]


def with_length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


def test_headers_keep_order_case_and_duplicates(bench: Bench) -> None:
    headers = [
        b"Set-Cookie: a=1; Path=/",
        b"x-remaining-credits: 98.76543",
        b"SET-COOKIE: b=2",
        b"Vary: RSC",
        b"vary: Accept",
        b"X-Empty:",
        b"x-ratelimit-reset-requests: 6m0s",
        b"Date: Fri, 20 Nov 2026 10:00:00 GMT",
        b"Server: uvicorn",
        with_length(BODY),
        b"X-After: 1",
    ]
    bench.play(reply("200 OK", *headers, body=BODY))
    answer = bench.both(post)
    assert [name for name, _ in answer.headers][: len(headers)] == [line.partition(b":")[0] for line in headers]


@pytest.mark.parametrize(
    "status",
    ["200 OK", "201 Created", "202 Accepted", "400 Bad Request", "402 Payment Required", "410 Gone", "418 I'm a teapot",
     "429 Too Many Requests", "500 Internal Server Error", "529 Overloaded", "599 ", "200 Fine by me"],
)  # fmt: skip
def test_any_status_line(bench: Bench, status: str) -> None:
    body = BODY if status >= "4" else b'{"id":"x"}'
    bench.play(reply(status, with_length(body), body=body))
    row = bench.row(bench.both(post))
    assert row["http_status"] == int(status[:3])
    assert row["outcome"] == ("ok" if status < "4" else "upstream_error")


@pytest.mark.parametrize(
    "status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
)
def test_redirects_are_returned(bench: Bench, status: str) -> None:
    bench.play(reply(status, b"Location: https://elsewhere.test/v1/x?y=1", b"Content-Length: 0"))
    answer = bench.both(post)
    assert answer.value("location") == "https://elsewhere.test/v1/x?y=1"
    assert len(bench.player.requests) == 1


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_statuses_without_a_body(bench: Bench, status: str) -> None:
    bench.play(reply(status, b"ETag: x"))
    with Connection(bench.weir.proxy_port) as connection:
        assert connection.ask(get("/raw")).body == b""
        assert connection.quiet()
        assert connection.ask(get("/raw")).status == int(status[:3])
    bench.both(get)


def test_304_may_tell_a_length_without_a_body(bench: Bench) -> None:
    bench.play(reply("304 Not Modified", b"Content-Length: 77"))
    assert bench.both(get).body == b""


def test_head_has_a_length_and_no_body(bench: Bench) -> None:
    bench.play(reply("200 OK", b"Content-Length: 1234", b"Content-Type: text/plain"))
    with Connection(bench.weir.proxy_port) as connection:
        answer = connection.ask(head("/raw"))
        assert (answer.value("content-length"), answer.body) == ("1234", b"")
        assert connection.quiet()
    bench.both(head)


def test_an_empty_200_passes(bench: Bench) -> None:
    """Livepeer's gateway answers so when it does not like the request."""
    bench.play(reply("200 OK", b"Content-Length: 0"))
    answer = bench.both(post, "livepeer")
    row = bench.row(answer)
    assert (row["outcome"], row["input_tokens"], row["output_tokens"]) != ("ok", 0, 0)
    assert answer.body == b""


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_a_coded_document_is_untouched_and_read(bench: Bench, coding: str) -> None:
    coder = encoder(coding)
    body = coder.piece(json.dumps(CHAT).encode()) + coder.end()
    lines = [b"Content-Type: application/json", b"Content-Encoding: " + coding.encode(), with_length(body)]
    bench.play(reply("200 OK", *lines, body=body))
    answer = bench.both(post)
    assert answer.body == body
    row = bench.row(answer)
    assert (row["input_tokens"], row["output_tokens"], row["usage_source"]) == (9, 2, "provider")
    assert row["meter_fault"] is None


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_a_coded_stream_is_untouched_and_read(bench: Bench, coding: str) -> None:
    coder = encoder(coding)
    delta = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
    last = {"choices": [], "usage": CHAT["usage"]}
    events = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in (delta, delta, last)]
    sent = [*map(coder.piece, [*events, b"data: [DONE]\n\n"]), coder.end()]
    lines = [b"content-type: text/event-stream", b"content-encoding: " + coding.encode(), b"transfer-encoding: chunked"]
    sent = [piece for piece in sent if piece]
    bench.play([*reply("200 OK", *lines), *chunked(sent)])
    answer = bench.both(post)
    assert answer.chunks == sent
    row = bench.row(answer)
    assert (row["stream"], row["input_tokens"], row["output_tokens"]) == (1, 9, 2)


def test_what_is_called_gzip_and_is_not_passes(bench: Bench) -> None:
    bench.play(reply("200 OK", b"Content-Encoding: gzip", with_length(BODY), body=BODY))
    answer = bench.both(post)
    assert answer.body == BODY
    row = bench.row(answer)
    assert row["meter_fault"]
    assert row["input_tokens"] is None or row["usage_source"] == "estimated"


def test_a_gzip_body_without_its_end_passes(bench: Bench) -> None:
    body = gzip.compress(json.dumps(CHAT).encode())[:-9]
    with pytest.raises((EOFError, zlib.error)):
        gzip.decompress(body)
    bench.play(reply("200 OK", b"Content-Encoding: gzip", with_length(body), body=body))
    assert bench.both(post).body == body


def test_brotli_is_not_decoded_for_the_client(bench: Bench) -> None:
    body = brotli.compress(b"x" * 100_000)
    bench.play(reply("200 OK", b"Content-Encoding: br", with_length(body), body=body))
    assert len(bench.both(post).body) == len(body)


def test_a_body_that_ends_with_the_connection(bench: Bench) -> None:
    bench.play(Script(reply("200 OK", b"Content-Type: text/plain", body=b"until the end"), then="close"))
    answer = bench.both(get)
    assert (answer.framing, answer.body) == ("close", b"until the end")
    assert bench.row(answer)["outcome"] == "ok"


def test_a_body_shorter_than_its_length_is_cut(bench: Bench) -> None:
    bench.play(Script(reply("200 OK", b"Content-Length: 100", body=b"only this"), then="close"))
    answer = bench.both(get)
    assert (answer.ended, answer.body) == ("cut", b"only this")
    assert bench.row(answer)["outcome"] == "upstream_cut"


def test_a_reset_within_the_body_is_no_clean_end(bench: Bench) -> None:
    pieces = [*reply("200 OK", b"Transfer-Encoding: chunked"), b"3\r\nabc\r\n"]
    bench.play(Script(pieces, then="reset", gap=0.05))
    answer = bench.through(get("/raw"))
    assert answer.ended in ("cut", "reset")
    assert bench.row(answer)["outcome"] == "upstream_cut"


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x00 nothing like HTTP\r\n\r\n", b"HTTP/9.9 abc\r\n\r\n", b"{}\r\n\r\n"],
)
def test_an_answer_that_is_not_http(bench: Bench, garbage: bytes) -> None:
    bench.play(Script([garbage], then="close"))
    answer = bench.through(get("/raw"))
    assert answer.status == 502
    assert answer.value("x-weir-error")
    assert json.loads(answer.body)["error"]["type"].startswith("weir_")
    assert bench.row(answer)["outcome"] == "upstream_unreachable"


@pytest.mark.parametrize("start", [b"\x00" * 64, b"HTTP/1.1 200 OK\r\nContent-Type: text/"])
def test_a_head_without_an_end(bench: Bench, start: bytes) -> None:
    bench.play(Script([start], then="close"))
    answer = bench.through(get("/raw"))
    assert (answer.status, bench.row(answer)["outcome"]) == (502, "upstream_cut")


def test_an_upstream_that_hangs_up_without_answering(bench: Bench) -> None:
    bench.play(Script([], then="close"))
    answer = bench.through(post("/raw"))
    assert answer.status == 502
    assert bench.row(answer)["outcome"] in ("upstream_unreachable", "upstream_cut")
    assert len(bench.player.requests) == 1, "a POST is never sent twice"


def test_an_upstream_that_closes_between_calls(bench: Bench) -> None:
    """A kept connection that died is no failed call: the next one gets a new connection."""
    bench.play(Script(reply("200 OK", b"Content-Length: 2", b"Connection: close", body=b"ok"), then="close"))
    for _ in range(5):
        assert bench.through(post("/raw")).status == 200


def test_a_client_that_leaves_closes_the_upstream(bench: Bench) -> None:
    endless = [*reply("200 OK", b"Transfer-Encoding: chunked"), *([b"1\r\nx\r\n"] * 500)]
    bench.play(Script(endless, gap=0.02))
    with Connection(bench.weir.proxy_port) as connection:
        connection.send(get("/raw"))
        connection.reader.line()
    assert bench.player.client_closed.wait(5)
