"""Heads of answers: what is accepted is read as llhttp reads it; what two readers could take apart is refused."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given, settings, strategies as st

from proxy.answer_head import AnswerHead
from proxy.headers import Headers


class Llhttp:
    """An answer's head as llhttp reads it."""

    def __init__(self, raw: bytes) -> None:
        self.headers: Headers = []
        self.complete = self.keep_alive = False
        self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(raw)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True
        self.keep_alive = self.parser.should_keep_alive()


LINES = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.0 404 Not Found", b"HTTP/1.1 503", b"HTTP/1.1 201 ", b"HTTP/1.1 200 \xe4\xf6 x"]
)
NAMES = st.sampled_from(
    [b"Content-Length", b"content-LENGTH", b"Transfer-Encoding", b"Connection", b"X", b"X_y", b"Set-Cookie", b"date"]
)
VALUES = st.one_of(
    st.sampled_from([b"0", b"12", b"chunked", b"Chunked", b"gzip", b"close", b"keep-alive", b"Close, x", b"", b"+1"]),
    st.binary(max_size=6),
)
SPACE = st.sampled_from([b"", b" ", b"\t", b"  "])
FIELDS = st.lists(st.tuples(NAMES, SPACE, VALUES, SPACE), max_size=5)


@given(LINES, FIELDS, st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\n "]))
@settings(max_examples=400)
def test_a_head_that_weir_accepts_llhttp_reads_the_same_way(
    line: bytes, fields: list[tuple[bytes, bytes, bytes, bytes]], end: bytes
) -> None:
    """weir may be stricter, never more lenient: two readers of one head must not see two answers."""
    raw = b"\r\n".join([line, *(n + b":" + a + v + b for n, a, v, b in fields)]) + end + b"\r\n"
    if raw.find(b"\r\n\r\n") + 4 != len(raw):
        return
    try:
        head = AnswerHead(raw)
    except ValueError:
        return
    other = Llhttp(raw)
    assert other.complete
    assert head.status == other.parser.get_status_code()
    assert head.headers == other.headers
    if head.chunked or head.length is not None:
        assert head.keep_alive == other.keep_alive


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_head_that_two_readers_could_read_differently_is_none(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        AnswerHead(raw)


# -- no connection
