"""What may enter: the hostile requests that parsers disagree on, as far as a head says it."""

from __future__ import annotations

import re

import h11
import orjson
import pytest
from hypothesis import example, given, strategies as st

from proxy.gate import (
    MAX_TARGET,
    METHODS,
    Framing,
    Refusal,
    answer,
    check_headers,
    check_target,
    head_too_large,
    too_large,
)
from proxy.headers import Headers, RequestHead

HOST = (b"Host", b"localhost:8383")
MAX_BODY = 1000

GOOD_TARGETS = [
    b"/",
    b"/openai/v1/chat/completions",
    b"/v1/models?limit=3&after=x%20y",
    b"/gemini/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    b"/bedrock/model/anthropic.claude-3%3A0/invoke",
    b"/hf/org%2Fmodel/v1",
    b"/with/session=a,user=b%2Cc/openai/v1/x",
    b"/a/...b/c..d/.well-known/x",
    b"/v1/x?a=//b/../c&d=%00%5c",
    b"/a/b/",
    b"/~user/(x)/*/$!'+;=@",
]

BAD_TARGETS = [
    b"",
    b"*",
    b"openai/v1",
    b"http://evil.example/v1",
    b"https://api.openai.com/v1/models",
    b"evil.example:443",
    b"@evil.example/",
    b"//evil.example/x",
    b"/openai//v1",
    b"/v1//",
    b"\\\\evil.example\\x",
    b"/\\evil.example",
    b"/a\\..\\b",
    b"/a%5c..%5Cb",
    b"/v1/x#frag",
    b"/v1/x?y#frag",
    b"/v1/..",
    b"/v1/../admin",
    b"/v1/./x",
    b"/.",
    b"/..",
    b"/v1/%2e%2e/admin",
    b"/v1/.%2E/admin",
    b"/v1/%2e/x",
    b"/v1/..%2fadmin",
    b"/v1/..%2Fadmin",
    b"/v1%2f..%2fadmin",
    b"/v1/%2e%2e%2fadmin",
    b"/v1/x%2f%2e%2e",
    b"/v1/%00",
    b"/v1/x%0d%0aHost:%20evil",
    b"/v1/x%0A",
    b"/v1/x%0D",
    b"/v1/%",
    b"/v1/%2",
    b"/v1/%zz",
    b"/v1/%u002e",
    b"/v1/x y",
    b"/v1/x?a b",
    b"/v1/x\ty",
    b"/v1/x\r\nEvil: 1",
    b"/v1/x\n",
    b"/v1/x?\n",
    b"/v1/x\x00",
    b"/v1/x?\x00",
    b"/v1/x\x7f",
    b"/v1/\xc3\xa9",
    b"/v1/x?\xff",
    b'/v1/"x"',
    b"/v1/<x>",
    b"/v1/x?a=\x1b[31m",
]


def refused(result: Refusal | Framing | None) -> tuple[int, str]:
    assert isinstance(result, Refusal)
    return result.status, result.reason


def framing(*given: tuple[bytes, bytes], version: str = "1.1") -> Refusal | Framing:
    return check_headers(version, RequestHead(list(given)), MAX_BODY)


@pytest.mark.parametrize("target", GOOD_TARGETS)
def test_plain_paths_enter(target: bytes) -> None:
    assert check_target(b"POST", target) is None


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_what_is_no_plain_path_is_refused(target: bytes) -> None:
    assert refused(check_target(b"POST", target)) == (400, "bad_target")


@given(st.binary(max_size=40).map(lambda raw: b"/" + raw))
@example(b"/%252e%252e/x")
def test_what_enters_is_one_path_however_it_is_read(target: bytes) -> None:
    """Read raw or with its escapes undone once, a path that enters has the same segments above it: none goes up."""
    if check_target(b"GET", target) is not None:
        return
    path = target.partition(b"?")[0]
    undone = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), path)
    for read in (path, undone):
        assert not {b".", b".."} & set(read.split(b"/"))
        assert not set(read) & set(b"\\\r\n\x00")
    assert path.startswith(b"/") and not path.startswith(b"//")
    assert all(0x20 < byte < 0x7F for byte in target)


@given(st.binary(max_size=60), st.binary(max_size=10))
def test_the_gate_never_raises(target: bytes, method: bytes) -> None:
    result = check_target(method, target)
    assert result is None or 400 <= result.status < 600


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_methods_of_apis_enter(method: bytes) -> None:
    assert check_target(method, b"/v1/x") is None


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"PROPFIND", b"get", b"", b"\xff" * 99, b"GET\r\n"])
def test_other_methods_are_refused(method: bytes) -> None:
    assert refused(check_target(method, b"/v1/x")) == (405, "method_not_allowed")


def test_targets_have_a_bound() -> None:
    longest = b"/" + b"a" * (MAX_TARGET - 1)
    assert check_target(b"GET", longest) is None
    assert refused(check_target(b"GET", longest + b"a")) == (414, "uri_too_long")
    assert refused(check_target(b"GET", b"/?" + b"\xff" * MAX_TARGET)) == (414, "uri_too_long")


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([], 0),
        ([(b"Content-Length", b"0")], 0),
        ([(b"content-LENGTH", b"1000")], 1000),
        ([(b"Content-Length", b"0010")], 10),
        ([(b"Transfer-Encoding", b"chunked")], None),
        ([(b"transfer-encoding", b"Chunked")], None),
        ([(b"Transfer_Encoding", b"chunked"), (b"Content-Length", b"3")], 3),
    ],
)
def test_a_plain_body_is_as_long_as_it_says(headers: Headers, length: int | None) -> None:
    assert framing(HOST, *headers) == Framing(length)


LENGTH = (b"Content-Length", b"5")
CHUNKED = (b"Transfer-Encoding", b"chunked")


@pytest.mark.parametrize(
    "headers",
    [
        [LENGTH, CHUNKED],
        [CHUNKED, LENGTH],
        [LENGTH, LENGTH],
        [LENGTH, (b"content-length", b"6")],
        [CHUNKED, CHUNKED],
        *([(b"Content-Length", value)] for value in (b"5, 5", b"5,6", b"+5", b"-5", b"0x5", b"5_0", b"5.0", b"1e3")),
        *([(b"Content-Length", value)] for value in (b"", b" 5", b"5 ", b"5\x0b", b"\xb2", b"9" * 16, b"9" * 5000)),
        *([(b"Transfer-Encoding", value)] for value in (b"gzip, chunked", b"chunked, chunked", b"identity", b"")),
        *([(b"Transfer-Encoding", value)] for value in (b"xchunked", b"chunked;q=1", b"chunked, identity", b"gzip")),
        [(b"Transfer-Encoding", b"identity"), LENGTH],
    ],
)
def test_framing_that_two_parsers_could_read_differently_is_refused(headers: Headers) -> None:
    assert refused(framing(HOST, *headers)) == (400, "bad_framing")


@given(st.lists(st.sampled_from([LENGTH, CHUNKED, (b"content-length", b"7"), (b"TE", b"trailers")]), max_size=4))
def test_what_enters_is_framed_as_h11_frames_it(headers: Headers) -> None:
    ours = framing(HOST, *headers)
    if isinstance(ours, Refusal):
        return
    theirs = h11.Connection(h11.SERVER)
    lines = b"".join(b"%b: %b\r\n" % pair for pair in [HOST, *headers])
    theirs.receive_data(b"POST / HTTP/1.1\r\n" + lines + b"\r\n")
    request = theirs.next_event()
    assert isinstance(request, h11.Request)
    read = dict(request.headers)
    assert (read.get(b"transfer-encoding"), int(read.get(b"content-length", 0))) == (
        (b"chunked", 0) if ours.length is None else (None, ours.length)
    )


@pytest.mark.parametrize("version", ["1.0", "0.9", "2.0", "1.2", ""])
def test_other_versions_are_refused(version: str) -> None:
    """A Transfer-Encoding on HTTP/1.0 is one of the disagreements; there is no HTTP/1.0 here at all."""
    assert refused(framing(HOST, CHUNKED, version=version)) == (505, "http_version")


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"localhost:8383", b"127.0.0.1:1", b"[::1]:8383", b"[::1]", b"weir.example.", b"a_b.c", b"a%20b"],
)
def test_a_plain_host_enters(host: bytes) -> None:
    assert framing((b"Host", host)) == Framing(0)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a b",
        b"\xff",
        b"a\n",
        *b"a/#@b user@host a/b a?b a\\b a:b a: a:123456 [::1 ::1 a,b [zz] :80 a:80:80".split(),
    ],
)
def test_a_host_that_is_none_is_refused(host: bytes) -> None:
    assert refused(framing((b"Host", host))) == (400, "bad_host")


@pytest.mark.parametrize("hosts", [[], [HOST, HOST], [HOST, (b"host", b"evil.example")]])
def test_there_is_exactly_one_host(hosts: Headers) -> None:
    assert refused(framing(*hosts)) == (400, "bad_host")


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b""])
def test_upgrades_are_refused(protocol: bytes) -> None:
    assert refused(framing(HOST, (b"Upgrade", protocol))) == (501, "upgrade_not_supported")


def test_bodies_have_a_bound() -> None:
    assert framing(HOST, (b"Content-Length", b"1000")) == Framing(1000)
    assert refused(framing(HOST, (b"Content-Length", b"1001"))) == (413, "body_too_large")
    assert refused(framing(HOST, (b"Content-Length", b"9" * 15))) == (413, "body_too_large")


REFUSALS = [
    too_large(5),
    head_too_large(5),
    Refusal(503, "too_many_streams", "later"),
    Refusal(405, "method_not_allowed", "method \"\\\x00\ufffd' é is not"),
    Refusal(599, "odd", ""),
]


@pytest.mark.parametrize("head_only", [False, True])
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.reason)
def test_the_answer_is_one_that_h11_can_read(refusal: Refusal, head_only: bool) -> None:
    client = h11.Connection(h11.CLIENT)
    method = "HEAD" if head_only else "GET"
    client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answer(refusal, b"the-call", head_only=head_only))
    client.receive_data(b"")
    got = client.next_event()
    assert isinstance(got, h11.Response)
    headers = dict(got.headers)
    assert (got.status_code, headers[b"x-weir-error"]) == (refusal.status, refusal.reason.encode())
    assert (headers[b"x-weir-call-id"], headers[b"connection"]) == (b"the-call", b"close")
    assert (headers.get(b"retry-after") == b"1") is (refusal.status == 503)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    if head_only:
        assert body == b""
    else:
        error = {"error": {"type": f"weir_{refusal.reason}", "message": refusal.message}}
        assert orjson.loads(body) == error
        assert int(headers[b"content-length"]) == len(body)
