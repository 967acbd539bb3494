"""Which headers pass: each row of the table, and that everything else goes through byte for byte."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from proxy import headers
from proxy.answer_head import AnswerHead
from proxy.headers import MAX_NAME, MAX_NAMES, Headers, RequestHead, nominated, request_head, response_head

HOST = (b"Host", b"weir.local:8383")
TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
TABLE = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"),
    *(b"transfer-encoding", b"transfer_encoding", b"content_length", b"host", b"expect"),
}

names = st.lists(st.sampled_from([bytes([c]) for c in TOKEN]), min_size=1, max_size=80).map(b"".join)
values = st.binary(max_size=60).map(lambda raw: re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", raw).strip(b" \t"))
ordinary = names.filter(lambda name: name.lower() not in TABLE and not name.lower().startswith(b"x-weir-"))


def forwarded(given: Headers, host: bytes = b"api.example") -> Headers:
    """What an upstream would read, parsed back by another hand than the one that wrote it."""
    raw = request_head(b"POST", b"/v1/x?y=1", host, RequestHead(given))
    first, _, rest = raw.partition(b"\r\n")
    assert first == b"POST /v1/x?y=1 HTTP/1.1"
    assert rest.endswith(b"\r\n") and (rest == b"\r\n" or rest.endswith(b"\r\n\r\n"))
    lines = rest[:-2].split(b"\r\n")[:-1]
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


@given(st.lists(st.tuples(ordinary, values), max_size=12), st.integers(0, 12))
def test_everything_else_passes_byte_for_byte_in_its_order(others: Headers, at: int) -> None:
    sent = [*others[:at], HOST, *others[at:]]
    assert forwarded(sent) == [*others[:at], (b"Host", b"api.example"), *others[at:]]


@given(st.lists(st.tuples(ordinary, values), max_size=12), st.booleans())
def test_an_answer_passes_byte_for_byte_in_its_order(others: Headers, close: bool) -> None:
    raw = b"HTTP/1.1 200 Fine, Thanks\r\n" + b"".join(b"%b:%b\r\n" % pair for pair in others) + b"\r\n"
    end = b"x-weir-call-id: ID\r\n" + (b"connection: close\r\n" if close else b"") + b"\r\n"
    assert response_head(raw, b"ID", close=close) == raw[:-2] + end


def test_duplicates_and_case_are_kept() -> None:
    sent = [HOST, (b"aCCept", b"a"), (b"Accept", b"b"), (b"accept", b"a"), (b"X-Empty", b"")]
    assert forwarded(sent)[1:] == sent[1:]


@pytest.mark.parametrize(
    "name",
    b"Connection Keep-Alive Proxy-Connection TE Trailer Upgrade Expect Transfer_Encoding Content_Length "
    b"x-weir-session x-weir-project x-weir-user x-weir-tag-a x-weir-other".split(),
)
@pytest.mark.parametrize("case", [bytes.lower, bytes.upper, bytes.title, bytes.swapcase])
def test_what_belongs_to_this_hop_is_dropped_from_requests(name: bytes, case: type[bytes]) -> None:
    sent = [HOST, (b"A", b"1"), (case(name), b"close"), (b"B", b"2")]
    assert forwarded(sent) == [(b"Host", b"api.example"), (b"A", b"1"), (b"B", b"2")]


@pytest.mark.parametrize("name", [b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Trailer", b"Upgrade"])
@pytest.mark.parametrize("case", [bytes.lower, bytes.upper, bytes.title, bytes.swapcase])
def test_what_belongs_to_this_hop_is_dropped_from_answers(name: bytes, case: type[bytes]) -> None:
    raw = b"HTTP/1.1 200 OK\r\nA: 1\r\n%b: close\r\n%b:close\r\nB: 2\r\n\r\n" % (case(name), case(name))
    assert response_head(raw, b"ID", close=False) == b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nx-weir-call-id: ID\r\n\r\n"


@pytest.mark.parametrize("name", [b"x-weir-call-id", b"X-Weir-Error", b"X-WEIR-CALL-ID"])
def test_an_upstream_cannot_speak_as_weir(name: bytes) -> None:
    raw = b"HTTP/1.1 200 OK\r\n%b: forged\r\nB: 2\r\n\r\n" % name
    assert response_head(raw, b"ID", close=False) == b"HTTP/1.1 200 OK\r\nB: 2\r\nx-weir-call-id: ID\r\n\r\n"


def test_headers_that_only_look_alike_pass() -> None:
    sent = [HOST, (b"X-Connection", b"close"), (b"Connection-Id", b"1"), (b"Te-x", b"1"), (b"X-Weirdo", b"1")]
    assert forwarded(sent)[1:] == sent[1:]
    raw = b"HTTP/1.1 200 OK\r\nX-Note: connection: close\r\nConnections: 3\r\nX-TE: 1\r\n\r\n"
    assert response_head(raw, b"ID", close=False) == raw[:-2] + b"x-weir-call-id: ID\r\n\r\n"


def test_what_connection_names_is_dropped() -> None:
    sent = [(b"X-Hop", b"1"), HOST, (b"Connection", b"close, x-hop,,X-Other "), (b"x-other", b"2"), (b"X-Stay", b"3")]
    assert forwarded(sent) == [(b"Host", b"api.example"), (b"X-Stay", b"3")]
    raw = b"HTTP/1.1 200 OK\r\nX-HOP: 1\r\nConnection: x-hop\r\nX-Stay: 3\r\nconnection:X-Other\r\nx-other: 2\r\n\r\n"
    assert response_head(raw, b"ID", close=False) == b"HTTP/1.1 200 OK\r\nX-Stay: 3\r\nx-weir-call-id: ID\r\n\r\n"


@pytest.mark.parametrize(
    "name",
    b"Authorization X-Api-Key Api-Key X-Goog-Api-Key Cookie Content-Type Content-Length Content-Encoding "
    b"Transfer-Encoding Host".split(),
)
def test_connection_takes_neither_credentials_nor_framing_away(name: bytes) -> None:
    """A request whose `Transfer-Encoding` is taken away leaves its body to be read as the next request."""
    value = b"chunked" if name == b"Transfer-Encoding" else b"api.example" if name == b"Host" else b"12"
    sent = [(name, value), (b"Connection", name.lower()), (b"Connection", b"close, " + name)]
    assert forwarded(sent) == [(name, value)]
    assert nominated(b"close, " + name) == {b"close"}
    raw = b"HTTP/1.1 200 OK\r\n%b: %b\r\nConnection: %b\r\n\r\n" % (name, value, name)
    assert b"\r\n%b: %b\r\n" % (name, value) in response_head(raw, b"ID", close=False)


@given(st.binary(max_size=80))
def test_no_connection_value_breaks_a_head(connection: bytes) -> None:
    connection = re.sub(rb"[\x00-\x1f\x7f]", b"", connection)
    sent = [(b"Authorization", b"k"), HOST, (b"Transfer-Encoding", b"chunked"), (b"Connection", connection)]
    assert forwarded(sent) == [
        (b"Authorization", b"k"), (b"Host", b"api.example"), (b"Transfer-Encoding", b"chunked")
    ]  # fmt: skip
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: %b\r\n\r\n" % connection
    expected = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nx-weir-call-id: ID\r\n\r\n"
    assert response_head(raw, b"ID", close=False) == expected


def test_a_chunked_request_says_chunked_and_nothing_else() -> None:
    assert forwarded([HOST, (b"transfer-ENCODING", b" Chunked ")])[1:] == [(b"transfer-ENCODING", b"chunked")]


def test_a_head_is_read_once_for_all_who_ask() -> None:
    head = RequestHead(
        [
            HOST,
            (b"Content-Length", b"5"),
            (b"content-type", b"application/json"),
            (b"Content-Encoding", b"gzip"),
            (b"Authorization", b"Bearer k"),
            (b"x-api-key", b"second"),
            (b"traceparent", b"00-x"),
            (b"Expect", b"100-continue"),
            (b"Upgrade", b"h2c"),
            (b"X-Weir-Session", b"s"),
        ]
    )
    assert (head.hosts, head.lengths, head.codings) == ([b"weir.local:8383"], [b"5"], [])
    assert (head.content_type, head.content_encoding, head.traceparent) == (b"application/json", b"gzip", b"00-x")
    assert (head.credential, head.expects, head.upgrade) == (b"Bearer k", True, True)
    assert head.labels == [(b"X-Weir-Session", b"s")]


def test_the_size_is_that_of_the_lines() -> None:
    sent = [HOST, (b"A", b"1" * 100), (b"x-weir-session", b"s"), (b"Connection", b"close")]
    assert RequestHead(sent).size == len(b"".join(b"%b: %b\r\n" % pair for pair in sent))


@pytest.mark.parametrize("line", [b"HTTP/1.0 200 OK", b"HTTP/1.0 404 Not Found", b"HTTP/1.0 200 "])
def test_an_old_answer_speaks_the_version_of_this_hop(line: bytes) -> None:
    raw = response_head(line + b"\r\nConnection: keep-alive\r\nA: 1\r\n\r\n", b"ID", close=True)
    assert raw == b"HTTP/1.1" + line[8:] + b"\r\nA: 1\r\nx-weir-call-id: ID\r\nconnection: close\r\n\r\n"


def test_an_answer_without_headers_gets_a_whole_head() -> None:
    raw = response_head(b"HTTP/1.1 200 OK\r\n\r\n", b"ID", close=True)
    assert raw == b"HTTP/1.1 200 OK\r\nx-weir-call-id: ID\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nConnection: a,\r\n b\r\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\nConnection: a\nX: y\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\rConnection: a\r\n\r\n",
    ],
)
def test_heads_that_lines_cannot_be_cut_from_never_come_here(raw: bytes) -> None:
    """The regular expressions stand on this: folded lines, bare LF and bare CR have been refused before."""
    with pytest.raises(ValueError, match="grammar"):
        AnswerHead(raw)


def test_the_memory_of_names_stays_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: dict[bytes, int] = {}
    monkeypatch.setattr(headers, "_KINDS", kinds)
    for number in range(3 * MAX_NAMES):
        RequestHead([(b"x-%d" % number, b"")])
    RequestHead([(b"y" * (MAX_NAME + 1), b""), (b"Connection", b"close")])
    assert 0 < len(kinds) <= MAX_NAMES
    assert max(map(len, kinds)) <= MAX_NAME
    assert forwarded([HOST, (b"connection", b"x"), (b"z" * 200, b"1")])[1:] == [(b"z" * 200, b"1")]
