"""Requests as they are read: headers as sent, trailers apart, chunk boundaries kept, in any cutting of the bytes."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
import uvicorn
from hypothesis import given, strategies as st
from uvicorn.server import ServerState

from proxy import turns
from proxy.turns import Turn, TurnReader


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application that nobody calls."""


def read(pieces: list[bytes]) -> list[Turn]:
    """The turns that a connection's bytes make."""
    config = uvicorn.Config(nothing, lifespan="off", log_config=None, ws="none")
    config.load()
    loop = asyncio.new_event_loop()
    try:
        reader = TurnReader(config=config, server_state=ServerState(), app_state={}, _loop=loop)
        for piece in pieces:
            reader.parser.feed_data(piece)
        return list(reader._queue)
    finally:
        loop.close()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


CHUNKED = (
    b"POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nX-Case: One\r\nx-case: two\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n1\r\nd\r\n5;ext=1\r\nefghi\r\n0\r\nAuthorization: evil\r\n\r\n"
)


@given(st.lists(st.integers(0, 10_000), max_size=8))
def test_any_cutting_gives_the_same_turn_with_its_chunks(places: list[int]) -> None:
    (turn,) = read(cut(CHUNKED, places))
    assert (turn.method, turn.target, turn.version) == (b"POST", b"/v1/x?y=1", "1.1")
    assert turn.headers == [
        (b"Host", b"a"),
        (b"X-Case", b"One"),
        (b"x-case", b"two"),
        (b"Transfer-Encoding", b"chunked"),
    ]
    assert turn.pieces == [b"abc", b"d", b"efghi"]
    assert turn.complete


def test_pipelined_requests_wait_in_order_with_their_own_bodies() -> None:
    first = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
    second = b"GET /2 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"
    one, two = read([first + second])
    assert (one.target, b"".join(one.pieces), one.expects) == (b"/1", b"ab", False)
    assert (two.target, two.pieces, two.expects, two.complete) == (b"/2", [], True, True)


def test_a_request_that_is_not_whole_says_so() -> None:
    (turn,) = read([b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"])
    assert not turn.complete
    assert turn.keep_alive


def test_connection_close_is_noted() -> None:
    (turn,) = read([b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"])
    assert not turn.keep_alive


def test_a_chunk_above_the_bound_goes_on_in_parts_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MAX_CHUNK", 10)
    body = b"0123456789abcdefghij"
    head = b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n"
    (turn,) = read([head, body[:8], body[8:15], body[15:], b"\r\n0\r\n\r\n"])
    assert b"".join(turn.pieces) == body
    assert len(turn.pieces) > 1
