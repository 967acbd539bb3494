"""The simulator keeps its own promises: the same request gets the same answer, and faults are what they are called."""

from __future__ import annotations

import gzip
import json
import uuid
import zlib
from typing import Any

import pytest

from tests.plugins.rawhttp import Connection, Message, ask, request
from tests.plugins.simulator import Simulator, simulating

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "What is a weir?"}]}


def post(port: int, body: Any, target: str = "/v1/chat/completions", **steering: Any) -> Message:
    headers = [(f"X-Sim-{key.replace('_', '-')}".encode(), str(value).encode()) for key, value in steering.items()]
    return ask(port, request("POST", target, headers, json.dumps(body).encode()), timeout=5)


def said(answer: Message) -> str:
    text: str = json.loads(answer.body)["choices"][0]["message"]["content"]
    return text


def streamed(answer: Message) -> str:
    events = [json.loads(chunk[6:]) for chunk in answer.chunks if chunk != b"data: [DONE]\n\n"]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])


def test_the_same_request_gets_the_same_answer(simulator: Simulator) -> None:
    assert post(simulator.port, CHAT).body == post(simulator.port, CHAT).body


def test_another_request_gets_another_answer(simulator: Simulator) -> None:
    other = {**CHAT, "messages": [{"role": "user", "content": "What is a dam?"}]}
    assert said(post(simulator.port, CHAT)) != said(post(simulator.port, other))


def test_another_seed_gives_another_answer(simulator: Simulator) -> None:
    with simulating(seed=7) as seeded:
        assert said(post(seeded.port, CHAT)) != said(post(simulator.port, CHAT))


def test_a_stream_says_what_the_document_says(simulator: Simulator) -> None:
    assert streamed(post(simulator.port, {**CHAT, "stream": True})) == said(post(simulator.port, CHAT))


def test_usage_in_a_stream_only_when_asked(simulator: Simulator) -> None:
    plain = post(simulator.port, {**CHAT, "stream": True})
    asked = post(simulator.port, {**CHAT, "stream": True, "stream_options": {"include_usage": True}})
    assert b"usage" not in plain.body
    assert [b'"usage":null' in chunk for chunk in asked.chunks] == [True] * (len(asked.chunks) - 2) + [False, False]
    assert json.loads(asked.chunks[-2][6:])["choices"] == []


def test_wishes_in_the_metadata_of_the_body(simulator: Simulator) -> None:
    body = {**CHAT, "metadata": {"x-sim-tokens-out": "3", "x-sim-tokens-in": 77}}
    usage = json.loads(post(simulator.port, body).body)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (77, 3)


def test_the_ledger_knows_what_was_answered(simulator: Simulator) -> None:
    tag = uuid.uuid4().hex
    answer = json.loads(post(simulator.port, CHAT, tag=tag, tokens_in=9, tokens_out=4).body)
    (entry,) = simulator.ledger(tag)
    assert answer["id"].endswith(entry["id"])
    assert (entry["input_tokens"], entry["output_tokens"], entry["model"]) == (9, 4, "gpt-4o")
    assert (entry["finished"], entry["closed_by_client"], entry["status"]) == (True, False, 200)


@pytest.mark.parametrize(
    "wish", [{"fault": "explode"}, {"fault": "cut-after"}, {"tokens_out": "-1"}, {"encoding": "lzw"}]
)
def test_unknown_wishes_are_refused(simulator: Simulator, wish: dict[str, str]) -> None:
    assert post(simulator.port, CHAT, **wish).status == 400


@pytest.mark.parametrize("body", [[], {}, {"model": "x"}])
def test_bad_requests_are_refused_in_the_providers_shape(simulator: Simulator, body: Any) -> None:
    answer = post(simulator.port, body)
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["type"] == "invalid_request_error"


def test_a_status(simulator: Simulator) -> None:
    answer = post(simulator.port, CHAT, fault="status=429")
    assert (answer.status, answer.value("retry-after")) == (429, "1")


@pytest.mark.parametrize(("fault", "ended"), [("cut-after=3", "cut"), ("reset-after=3", "reset")])
def test_a_stream_that_breaks(simulator: Simulator, fault: str, ended: str) -> None:
    answer = post(simulator.port, {**CHAT, "stream": True}, fault=fault, gap_ms=20)
    assert (len(answer.chunks), answer.ended) == (3, ended)


def test_a_document_that_breaks(simulator: Simulator) -> None:
    answer = post(simulator.port, CHAT, fault="cut-after=0")
    assert answer.ended == "cut"
    assert 0 < len(answer.body) < int(answer.value("content-length") or 0)


def test_an_error_event(simulator: Simulator) -> None:
    answer = post(simulator.port, {**CHAT, "stream": True}, fault="error-event-after=2")
    assert (len(answer.chunks), answer.ended) == (3, "clean")
    assert json.loads(answer.chunks[-1][6:])["error"]["type"] == "server_error"


def test_an_event_that_is_none(simulator: Simulator) -> None:
    answer = post(simulator.port, {**CHAT, "stream": True}, fault="garbage-after=2")
    assert answer.chunks[-1] == b"data: [DONE]\n\n"
    with pytest.raises(ValueError, match=r".*"):
        json.loads(answer.chunks[2][6:])


def test_no_usage(simulator: Simulator) -> None:
    assert "usage" not in json.loads(post(simulator.port, CHAT, fault="no-usage").body)


def test_a_gzip_body_without_its_end(simulator: Simulator) -> None:
    answer = post(simulator.port, CHAT, fault="truncated-gzip")
    assert (answer.ended, answer.value("content-encoding")) == ("clean", "gzip")
    with pytest.raises(EOFError):
        gzip.decompress(answer.body)
    assert json.loads(zlib.decompressobj(31).decompress(answer.body))["model"] == "gpt-4o"


def connect(simulator: Simulator, fault: str, stream: bool = False) -> Connection:
    connection = Connection(simulator.port)
    body = json.dumps({**CHAT, "stream": stream}).encode()
    connection.send(request("POST", "/v1/chat/completions", [(b"x-sim-fault", fault.encode())], body))
    return connection


def test_silence(simulator: Simulator) -> None:
    with connect(simulator, "hang") as connection:
        assert connection.quiet(0.2)


def test_a_reset(simulator: Simulator) -> None:
    with connect(simulator, "reset") as connection, pytest.raises(ConnectionResetError):
        connection.plug.recv(1)


def test_bytes_that_are_not_http(simulator: Simulator) -> None:
    with connect(simulator, "garbage") as connection:
        data, how = connection.reader.until_end()
    assert (data[:4], how) == (b"\x16\x03\x01\x02", "cut")


def test_silence_in_the_middle(simulator: Simulator) -> None:
    with connect(simulator, "hang-after=2", stream=True) as connection:
        while connection.reader.seen.count(b"\n\n\r\n") < 2:
            connection.reader.take(1)
        connection.reader.rest()
        assert connection.quiet(0.2)
