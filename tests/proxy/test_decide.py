"""What is decided about a request, and that a repeated head means the same decision and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from proxy import decide
from proxy.decide import Decider, Decision, Refused, Repeat, Request
from proxy.route import Router, upstream_route

SECRET = b"s" * 32
HEAD = (
    b"POST /up/v1/chat/completions HTTP/1.1\r\nHost: weir:8383\r\nAuthorization: Bearer sk-1\r\n"
    b"Content-Type: application/json\r\nX-Weir-Session: s1\r\nContent-Length: 5\r\nX-Last: 1\r\n\r\n"
)


@pytest.fixture
def decider() -> Decider:
    router = Router({"up": upstream_route("up", "http://127.0.0.1:9100/base", provider="p")}, "up")
    return Decider(router, secret=SECRET, max_head_bytes=4096, max_request_bytes=1000)


def request_of(head: bytes) -> Request:
    line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, _ = line.split(b" ")
    pairs = [(name, value.strip()) for name, _, value in (field.partition(b":") for field in fields)]
    return Request(method=method, target=target, headers=pairs)


def test_a_decision_says_where_to_whose_and_what_goes_upstream(decider: Decider) -> None:
    decision = decider.decide(request_of(HEAD))
    assert decision.target.upstream.name == "up"
    assert decision.identity.session == "s1"
    assert decision.key_id.startswith("k-")
    assert (decision.method, decision.content_type, decision.chunked) == ("POST", "application/json", False)
    assert decision.outgoing == (
        b"POST /base/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:9100\r\nAuthorization: Bearer sk-1\r\n"
        b"Content-Type: application/json\r\nContent-Length: 5\r\nX-Last: 1\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (HEAD.replace(b"/up/", b"/nowhere/"), "unknown_upstream"),
        (HEAD.replace(b"Host: weir:8383\r\n", b""), "bad_host"),
        (HEAD.replace(b"Content-Length: 5", b"Content-Length: 1001"), "body_too_large"),
        (HEAD.replace(b"s1", b"\x01"), "malformed_labels"),
        (HEAD.replace(b"X-Last: 1", b"X-Last: " + b"y" * 4096), "head_too_large"),
        (HEAD.replace(b"POST", b"BREW"), "method_not_allowed"),
    ],
)
def test_refusals_name_their_reason(decider: Decider, head: bytes, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        decider.decide(request_of(head))
    assert refused.value.refusal.reason == reason


def test_targets_with_a_query_are_not_remembered(decider: Decider) -> None:
    """A key in a query must not stay in memory for the life of the process."""
    decider.decide(request_of(HEAD.replace(b"completions", b"completions?key=sk-secret")))
    assert b"sk-secret" not in repr(decider._paths).encode()


def test_remembered_targets_are_bounded(decider: Decider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "MAX_PATHS", 10)
    for number in range(25):
        decider.decide(request_of(HEAD.replace(b"completions", b"%d" % number)))
    assert 0 < len(decider._paths) <= 10


def test_a_request_does_not_show_its_headers(decider: Decider) -> None:
    assert "sk-1" not in repr(request_of(HEAD))
    assert "sk-1" not in repr(decider.decide(request_of(HEAD)))


@given(st.binary(max_size=1000))
def test_a_repeated_head_with_any_body_is_known_and_goes_on_with_its_length(body: bytes) -> None:
    router = Router({"up": upstream_route("up", "http://127.0.0.1:9100/base")}, "up")
    decider = Decider(router, secret=SECRET, max_head_bytes=4096, max_request_bytes=1000)
    decision = decider.decide(request_of(HEAD))
    repeat = Repeat(HEAD, decision, 1000)
    again = HEAD.replace(b"Content-Length: 5", b"Content-Length: %d" % len(body))
    start = repeat.body_at(again + body)
    assert (again + body)[start:] == body
    assert start == len(again)
    assert repeat.outgoing(len(body)) == decider.decide(request_of(again)).outgoing


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"1234",  # a body that is not whole
        HEAD + b"123456",  # something behind it
        HEAD[:-2],
        HEAD.replace(b"sk-1", b"sk-2") + b"12345",
        HEAD.replace(b"X-Last: 1", b"X-Last: 2") + b"12345",
        HEAD.replace(b"Content-Length: 5", b"Content-Length: +5") + b"12345",
        HEAD.replace(b"Content-Length: 5", b"Content-Length: 5, 5") + b"12345",
        HEAD.replace(b"Content-Length: 5", b"Content-Length: ") + b"12345",
        HEAD.replace(b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 5") + b"12345",
        HEAD.replace(b"Content-Length: 5", b"Content-Length: 1001") + b"x" * 1001,
    ],
)
def test_any_other_bytes_are_parsed_anew(decider: Decider, data: bytes) -> None:
    repeat = Repeat(HEAD, decider.decide(request_of(HEAD)), 1000)
    assert repeat.body_at(data) == 0


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"Content-Length: 5\r\n", b""),
        HEAD.replace(b"Content-Length: 5\r\n", b"Content-Length: 5\r\nCONTENT-LENGTH: 5\r\n"),
    ],
)
def test_a_head_without_exactly_one_length_is_not_kept(decider: Decider, head: bytes) -> None:
    decision: Decision = decider.decide(request_of(HEAD))
    with pytest.raises(ValueError, match="Content-Length"):
        Repeat(head, decision, 1000)
