"""What goes wrong upstream, one fault after the other: what the client gets, and what the row says."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.plugins.rawhttp import Connection, Message, ask, request
from tests.plugins.simulator import Simulator
from tests.plugins.weir import Row, Weir, running

STREAM: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "What is a weir?"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}
WHOLE = {"model": "gpt-4o", "messages": STREAM["messages"]}
CHAT = "/openai/v1/chat/completions"


@pytest.fixture(scope="module")
def impatient(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weir]:
    """A weir that waits for nothing longer than a second."""
    with socket.create_server(("127.0.0.1", 0)) as plug:
        nobody = f"http://127.0.0.1:{plug.getsockname()[1]}"
    upstreams = {"openai": f"{simulator.url}/openai", "nobody": nobody, "nowhere": "http://no-such-host.invalid"}
    proxy = {"first_byte_timeout": 1.0, "idle_timeout": 1.0, "connect_timeout": 1.0, "max_request_bytes": 10_000}
    with running(tmp_path_factory.mktemp("impatient"), upstreams, proxy=proxy) as weir:
        yield weir


def wire(body: Any, fault: str = "", target: str = CHAT, **more: str) -> bytes:
    headers = [(f"x-sim-{name}".encode(), value.encode()) for name, value in more.items()]
    headers += [(b"x-sim-fault", fault.encode())] if fault else []
    return request("POST", target, headers, json.dumps(body).encode())


def call(weir: Weir, body: Any, fault: str = "", target: str = CHAT) -> tuple[Message, Row]:
    answer = ask(weir.proxy_port, wire(body, fault, target))
    return answer, weir.row(answer.value("x-weir-call-id"))


def refused(answer: Message, status: int) -> str:
    """weir's own answer, in its one shape; the reason."""
    reason = answer.value("x-weir-error")
    assert (answer.status, answer.ended) == (status, "clean")
    assert json.loads(answer.body)["error"]["type"] == f"weir_{reason}"
    assert reason
    return reason


def test_no_answer_in_time(impatient: Weir) -> None:
    answer, row = call(impatient, WHOLE, "hang")
    assert refused(answer, 504) == row["error_type"] == "first_byte_timeout"
    assert (row["outcome"], row["input_tokens"], row["request_model"]) == ("timeout", None, "gpt-4o")


def test_silence_within_a_stream(impatient: Weir) -> None:
    answer, row = call(impatient, STREAM, "hang-after=3")
    assert (answer.status, answer.ended, len(answer.chunks)) == (200, "cut", 3)
    assert (row["outcome"], row["http_status"], row["chunks"]) == ("timeout", 200, 3)
    assert row["usage_source"] != "provider"


@pytest.mark.parametrize("body", [STREAM, WHOLE])
def test_a_cut(impatient: Weir, body: Any) -> None:
    answer, row = call(impatient, body, "cut-after=3")
    assert (answer.status, answer.ended) == (200, "cut")
    assert row["outcome"] == "upstream_cut"
    assert row["usage_source"] != "provider"


def test_a_reset_instead_of_an_answer(impatient: Weir) -> None:
    answer, row = call(impatient, WHOLE, "reset")
    refused(answer, 502)
    assert row["outcome"] in ("upstream_cut", "upstream_unreachable")
    assert row["input_tokens"] is None


def test_an_answer_that_is_not_http(impatient: Weir) -> None:
    answer, row = call(impatient, WHOLE, "garbage")
    assert refused(answer, 502) == row["error_type"] == "bad_answer"
    assert row["outcome"] == "upstream_unreachable"


def test_an_event_that_is_none_does_not_hide_the_usage(impatient: Weir, simulator: Simulator) -> None:
    answer, row = call(impatient, STREAM, "garbage-after=3")
    assert answer.ended == "clean"
    assert row["meter_fault"]
    assert (row["outcome"], row["usage_source"]) == ("ok", "provider")
    assert answer.chunks == ask(simulator.port, wire(STREAM, "garbage-after=3")).chunks


@pytest.mark.parametrize("body", [STREAM, WHOLE])
def test_a_gzip_body_without_its_end(impatient: Weir, simulator: Simulator, body: Any) -> None:
    """All events were there: flushed, though never closed."""
    answer, row = call(impatient, body, "truncated-gzip")
    assert answer.chunks == ask(simulator.port, wire(body, "truncated-gzip")).chunks
    assert (row["outcome"], row["usage_source"]) == ("ok", "provider")


def test_no_usage_at_all(impatient: Weir) -> None:
    _, row = call(impatient, WHOLE, "no-usage")
    assert (row["outcome"], row["usage_source"]) == ("ok", "estimated")
    assert row["output_tokens"] > 0


def test_nobody_listens(impatient: Weir) -> None:
    answer, row = call(impatient, WHOLE, target="/nobody/v1/chat/completions")
    assert refused(answer, 502) == row["error_type"]
    assert (row["outcome"], row["request_model"]) == ("upstream_unreachable", "gpt-4o")


def test_no_such_host(impatient: Weir) -> None:
    answer, row = call(impatient, WHOLE, target="/nowhere/v1/chat/completions")
    refused(answer, 502)
    assert row["outcome"] in ("upstream_unreachable", "timeout")


@pytest.mark.parametrize(
    ("target", "body", "status"),
    [("/no-such-upstream/v1/x", {}, 404), ("/with/session=%/openai/v1/x", {}, 400), (CHAT, {"x": "y" * 20_000}, 413)],
)
def test_refused_by_weir(impatient: Weir, target: str, body: Any, status: int) -> None:
    answer, row = call(impatient, body, target=target)
    assert refused(answer, status) == row["error_type"]
    assert row["outcome"] == "rejected"


def test_a_caller_that_leaves_before_the_answer(impatient: Weir, simulator: Simulator) -> None:
    tag = uuid.uuid4().hex
    with Connection(impatient.proxy_port) as connection:
        connection.send(wire(WHOLE, **{"delay-ms": "800", "tag": tag}))
        impatient.wait(lambda: simulator.ledger(tag))
    impatient.wait(lambda: simulator.ledger(tag)[0]["closed_by_client"])
    (row,) = impatient.wait_for_rows(1, "outcome = 'client_closed'")
    assert (row["http_status"], row["input_tokens"], row["request_model"]) == (None, None, "gpt-4o")
