"""The meter over whole exchanges: what the tapes must read as, and the law that no cutting or coding changes it."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from proxy import tokens, wire
from proxy.meter import Meter, MeterMisuse
from proxy.wire import FORMATS, classify
from store.record import UsageSource
from tests.plugins.tapes import names
from tests.proxy.metering import CODERS, counts, events, metered, named, read, reading, said, taped, timeless

WIRE = Path(wire.__file__).parent

EXPECTED: dict[str, dict[str, Any]] = {
    "000-stream": {
        "request_model": "mixtral-8x7b", "response_model": None, "stream": True, "finish_reason": "stop", "chunks": 43,
        "content_events": 41, "max_tokens": 500, "ttft_us": 100_000, "inter_token_us": 10_000, "response_bytes": 2352,
    },
    "000-err-402": {"outcome": "upstream_error", "error_type": "http_402", "stream": False, "input_tokens": None},
    "001-health": {"stream": False, "usage_source": "none", "response_bytes": 56},
    "001-v03-stream": {
        "request_model": "gpt-3.5-turbo", "stream": True, "content_events": 26, "ttft_us": 100_000, "chunks": 26,
    },
    "001-v03-err-429": {"outcome": "upstream_error", "error_type": "http_429", "stream": False},
    "001-v10-stream": {
        "stream": True, "input_tokens": 13, "output_tokens": 26, "total_tokens": 39, "usage_source": "provider",
        "content_events": 26, "finish_reason": "stop", "response_model": "gpt-3.5-turbo", "cache_read_tokens": 0,
        "ttft_us": 110_000,
    },
    "001-v10-err": {"outcome": "upstream_error", "error_type": "http_500", "http_status": 500},
    "002-stream": {
        "stream": True, "input_tokens": 16, "output_tokens": 5, "total_tokens": 21, "usage_source": "provider",
        "finish_reason": "stop", "content_events": 5, "max_tokens": 256,
        "response_model": "meta-llama/Meta-Llama-3.1-8B-Instruct",
    },
    "002-nonstream": {
        "stream": False, "input_tokens": 16, "output_tokens": 5, "total_tokens": 21, "usage_source": "provider",
        "ttft_us": None, "inter_token_us": None, "first_chunk_us": 100_000,
    },
    "002-err-503": {"outcome": "upstream_error", "error_type": "http_503"},
    "003-chat-stream": {
        "stream": True, "request_model": "Meta-Llama-3-8B-Instruct", "response_model": "not implmented",
        "usage_source": "none", "content_events": 12, "ttft_us": 110_000, "finish_reason": None,
    },
    "003-generate-stream": {
        "stream": True, "response_model": "Meta-Llama-3-8B-Instruct", "content_events": 12, "ttft_us": 110_000,
    },
    "003-err-500": {"outcome": "upstream_error", "error_type": "http_500", "request_model": "m"},
    "004-ok": {
        "request_model": "mixtral-8x7b-instruct", "input_tokens": 43, "output_tokens": 19, "total_tokens": 62,
        "credits_remaining": 98.76543, "reported_cost_nusd": 310_000, "upstream_request_id": "7d7e1e2a",
        "stream": False, "usage_source": "provider", "response_id": "chat_abc123",
    },
    "004-err-405": {"outcome": "upstream_error", "error_type": "http_405"},
    "004-err-406": {"outcome": "upstream_error", "error_type": "http_406", "credits_remaining": 0.0},
}  # fmt: skip

ESTIMATES = {
    ("000-stream", "chat"): (18, 41, 59),
    ("000-stream", "text"): (11, 41, 52),
    ("001-v03-stream", "text"): (6, 26, 32),
    ("003-chat-stream", "chat"): (10, 17, 27),
    ("003-generate-stream", "chat"): (4, 17, 21),
}


def test_every_tape_is_expected() -> None:
    assert sorted(EXPECTED) == names()


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_tape_reads_as_expected(name: str) -> None:
    found = reading(metered(taped(name)))
    expected = {"outcome": "ok", "meter_fault": None, "duration_us": 1_000_000} | EXPECTED[name]
    assert {field: getattr(found, field) for field in expected} == expected


@pytest.mark.parametrize(("name", "mode"), sorted(ESTIMATES))
def test_an_answer_without_usage_is_estimated(name: str, mode: str) -> None:
    meter = metered(taped(name))
    assert meter.needs_estimate
    found = reading(meter)
    meter.apply_estimate(found, tokens.estimate(meter.estimate_job(mode)))
    assert counts(found) == ESTIMATES[name, mode]
    assert (found.usage_source, found.estimator) == ("estimated", "cl100k_base")


@pytest.mark.parametrize("name", [name for name in names() if name not in {tape for tape, _ in ESTIMATES}])
def test_an_answer_with_usage_or_without_text_is_not_estimated(name: str) -> None:
    assert not metered(taped(name)).needs_estimate


def cuttings(body: bytes) -> st.SearchStrategy[list[bytes]]:
    places = st.lists(st.integers(0, len(body)), max_size=40, unique=True).map(sorted)
    return places.map(lambda cuts: [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)])


@pytest.mark.parametrize("coding", sorted(CODERS))
@pytest.mark.parametrize("name", names())
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_any_cutting_in_any_coding_gives_the_same_reading(name: str, coding: str, data: st.DataObject) -> None:
    exchange = taped(name)
    body = CODERS[coding](exchange.body)
    expected = timeless(reading(metered(exchange))) | {"response_bytes": len(body)}
    found = timeless(reading(metered(exchange, data.draw(cuttings(body)), coding)))
    assert found == expected


@pytest.mark.parametrize("name", ["000-stream", "002-stream", "003-chat-stream", "001-v10-stream"])
def test_byte_by_byte_gives_the_same_reading(name: str) -> None:
    exchange = taped(name)
    single = [exchange.body[at : at + 1] for at in range(len(exchange.body))]
    assert timeless(reading(metered(exchange, single))) == timeless(reading(metered(exchange)))


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_line_ends_do_not_matter(ending: bytes, data: st.DataObject) -> None:
    body = named({"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}},
                 {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "π🙂"}},
                 {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 57}},
                 {"type": "message_stop"}).replace(b"\n", ending)  # fmt: skip
    found = read(*data.draw(cuttings(body)), path="/v1/messages")
    assert counts(found) == (3, 57, 60)
    assert (found.content_events, found.finish_reason, found.meter_fault) == (1, "end_turn", None)


@pytest.mark.parametrize("coding", sorted(CODERS))
@pytest.mark.parametrize("name", ["000-stream", "001-v10-stream", "002-nonstream", "003-generate-stream"])
def test_truncation_anywhere_raises_nothing(name: str, coding: str) -> None:
    exchange = taped(name)
    body = CODERS[coding](exchange.body)
    for end in range(0, len(body), max(1, len(body) // 150)):
        found = reading(metered(exchange, [body[:end]], coding, outcome="upstream_cut"))
        assert found.outcome == "upstream_cut"
        assert found.meter_fault is None
        assert found.usage_source in ("none", "partial", "provider")


READERS = sorted({row.read: row.name for row in FORMATS.values()}.values())
"""One wire format for each reader."""


@pytest.mark.parametrize("wire_format", READERS)
@given(garbage=st.lists(st.binary(max_size=200), max_size=6), kind=st.sampled_from(
    ["", "application/json", "text/event-stream", "application/x-ndjson", "text/plain", "audio/mpeg"]),
    coding=st.sampled_from(["", "gzip", "br", "zstd", "deflate", "compress", "gzip, br"]))  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_garbage_raises_nothing(wire_format: str, garbage: list[bytes], kind: str, coding: str) -> None:
    head = ((b"Content-Encoding", coding.encode()),) if coding else ()
    found = read(*garbage, wire_format=wire_format, content_type=kind, headers=head)
    assert not (found.meter_fault or "").startswith("meter_")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = st.sampled_from(
    [key.strip('"') for key in re.findall(r'"\w+"', " ".join(path.read_text() for path in WIRE.glob("*.py")))]
)
"""Every word that a reader asks for."""
shapes = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)


@pytest.mark.parametrize("wire_format", READERS)
@given(values=st.lists(st.dictionaries(KEYS, shapes, max_size=8), max_size=4), stream=st.booleans())
@settings(max_examples=40, deadline=None)
def test_wrong_types_anywhere_raise_nothing(wire_format: str, values: list[dict[str, Any]], stream: bool) -> None:
    body = events(*values) if stream else json.dumps(values[0] if values else {}).encode()
    kind = "text/event-stream" if stream else "application/json"
    asked = json.dumps(values[-1] if values else []).encode()
    found = read(body, wire_format=wire_format, content_type=kind, asked=asked)
    assert not (found.meter_fault or "").startswith("meter_")
    for field in ("input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "reasoning_tokens"):
        value = getattr(found, field)
        assert value is None or (type(value) is int and 0 <= value <= 1 << 55)


def test_several_events_in_one_read_share_its_time() -> None:
    found = read(events(said("a"), said("b"), end=b""), events(said("c")))
    assert (found.ttft_us, found.content_events, found.inter_token_us) == (100_000, 3, 5_000)


def test_role_only_events_and_pings_are_no_content() -> None:
    role = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
    found = read(b": ping\n\n", events(role, end=b""), events(said("x")))
    assert (found.first_chunk_us, found.ttft_us) == (100_000, 120_000)


@pytest.mark.parametrize(
    ("body", "outcome", "verdict"),
    [
        (events(said("a", finish_reason="stop")), "client_closed", "ok"),
        (events(said("a", finish_reason="stop")), "upstream_cut", "upstream_cut"),
        (events(said("a"), end=b""), "client_closed", "client_closed"),
        (events(said("a"), {"error": {"code": "server_error"}}), "ok", "stream_error"),
        (events(said("a"), {"error": {"code": "server_error"}}, end=b""), "client_closed", "stream_error"),
        (events(said("a"), end=b""), "timeout", "timeout"),
        (b"", "ok", "ok"),
    ],
)
def test_the_outcome_is_the_carriers_unless_the_answer_knows_better(body: bytes, outcome: str, verdict: str) -> None:
    assert read(body, outcome=outcome).outcome == verdict


def test_a_broken_off_answer_keeps_what_the_provider_said() -> None:
    start = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 30, "output_tokens": 1}}}
    body = named(start, {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello! Who are you?"}})
    meter = Meter(wire_format="anthropic.messages", path="/v1/messages", started=0.0)
    meter.response(200, [(b"content-type", b"text/event-stream")], at=0.1)
    meter.feed(body, at=0.2)
    found = meter.finish("client_closed", at=0.3)
    assert (found.outcome, found.usage_source, counts(found)) == ("client_closed", "partial", (30, None, None))
    assert meter.needs_estimate
    meter.apply_estimate(found, tokens.estimate(meter.estimate_job()))
    assert (counts(found), found.usage_source) == ((30, 6, 36), UsageSource.PARTIAL)


def test_a_snapshot_reads_a_running_call_and_disturbs_nothing() -> None:
    exchange = taped("002-stream")
    meter = Meter(wire_format=classify("POST", exchange.path).wire_format, path=exchange.path, started=0.0)
    meter.request(exchange.asked)
    meter.response(200, list(exchange.headers), at=0.1)
    for chunk in exchange.chunks[:3]:
        meter.feed(chunk, at=0.2)
    early = meter.snapshot(at=0.3)
    assert (early.outcome, counts(early), early.usage_source) == ("interrupted", (16, 3, 19), "partial")
    for chunk in exchange.chunks[3:]:
        meter.feed(chunk, at=0.4)
    assert counts(meter.finish("ok", at=0.5)) == (16, 5, 21)


def test_no_answer_leaves_its_fields_unknown() -> None:
    meter = Meter(wire_format="openai.chat", path="/v1/chat/completions", started=5.0)
    meter.request(b'{"model":"gpt-4o","max_completion_tokens":7}')
    found = meter.finish("upstream_unreachable", at=5.25)
    assert (found.outcome, found.request_model, found.max_tokens, found.duration_us) == (
        "upstream_unreachable", "gpt-4o", 7, 250_000,
    )  # fmt: skip
    assert [found.stream, found.chunks, found.response_bytes, found.http_status, found.ttft_us] == [None] * 5
    assert not meter.needs_estimate


def test_misuse_raises() -> None:
    meter = Meter(wire_format="openai.chat", path="/", started=0.0)
    with pytest.raises(MeterMisuse):
        meter.feed(b"x", at=0.1)
    with pytest.raises(MeterMisuse):
        meter.estimate_job()
    meter.response(200, [], at=0.1)
    meter.finish("ok", at=0.2)
    with pytest.raises(MeterMisuse):
        meter.feed(b"x", at=0.3)
    with pytest.raises(MeterMisuse):
        meter.finish("ok", at=0.4)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
def test_a_compressed_request_is_read(coding: str) -> None:
    body = json.dumps({"model": "gpt-5", "input": "x" * 1000, "max_output_tokens": 12}).encode()
    meter = Meter(wire_format="openai.responses", path="/v1/responses", started=0.0)
    meter.request(CODERS[coding](body), content_type="application/json", content_encoding=coding)
    found = meter.finish("ok", at=0.1)
    assert (found.request_model, found.max_tokens) == ("gpt-5", 12)


def test_of_a_long_request_only_the_text_is_kept() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (1 << 20)}}
    content = [{"type": "text", "text": "Hello! Who are you?"}, image]
    body = json.dumps({"model": "gpt-4", "messages": [{"role": "user", "content": content}]}).encode()
    meter = Meter(wire_format="openai.chat", path="/v1/chat/completions", started=0.0)
    meter.request(body)
    meter.response(200, [(b"content-type", b"text/event-stream")], at=0.1)
    meter.feed(events(said("Hi")), at=0.2)
    meter.finish("ok", at=0.3)
    assert not isinstance(meter.estimate_job().asked, bytes)
    assert tokens.estimate(meter.estimate_job()).input_tokens == 13


def test_a_bomb_is_left_unread_and_the_call_goes_on() -> None:
    bomb = CODERS["gzip"](b"data: " + b"\0" * (64 << 20))
    found = read(bomb, headers=((b"content-encoding", b"gzip"),))
    assert (found.meter_fault, found.response_bytes, found.stream) == ("decoded_too_long", len(bomb), True)


def test_an_unknown_coding_leaves_the_answer_opaque() -> None:
    found = read(b"whatever", headers=((b"content-encoding", b"dcb"), (b"x-request-id", b"r1")))
    assert (found.meter_fault, found.response_bytes, found.upstream_request_id) == ("unknown_coding", 8, "r1")


def test_an_answer_that_is_not_read_still_says_whether_it_streams() -> None:
    for kind, streamed in (("text/event-stream", True), ("application/json", False)):
        found = read(events(said("Hi")), wire_format="opaque", content_type=kind)
        assert (found.stream, found.content_events, found.usage_source) == (streamed, 0, "none")


def test_counted_tokens_are_no_usage() -> None:
    found = read(b'{"input_tokens":2095}', path="/v1/messages/count_tokens", content_type="application/json")
    assert (counts(found), found.usage_source, found.raw_usage) == ((None, None, None), "none", None)


def test_several_objects_in_a_body_of_known_length_are_a_stream_too() -> None:
    first, last = (json.dumps(said(text) | {"usage": usage}).encode() for text, usage in (("a", None), ("b", {
        "prompt_tokens": 3, "completion_tokens": 4})))  # fmt: skip
    found = read(first + last, content_type="application/json", headers=((b"content-length", b"1"),))
    assert (counts(found), found.stream, found.content_events, found.meter_fault) == ((3, 4, 7), True, 2, None)


def test_an_empty_read_is_no_first_byte() -> None:
    assert read(b"", events(said("a"))).first_chunk_us == 110_000


def test_a_stream_under_another_status_is_read_as_an_error() -> None:
    body = json.dumps({"error": {"type": "insufficient_quota", "message": "…"}}, indent=2).encode()
    found = read(body, status=429)
    assert (found.outcome, found.error_type, found.stream, found.meter_fault) == (
        "upstream_error", "insufficient_quota", False, None,
    )  # fmt: skip


def test_memory_stays_bounded_on_endless_lines() -> None:
    meter = Meter(wire_format="openai.chat", path="/v1/chat/completions", started=0.0)
    meter.response(200, [(b"content-type", b"text/event-stream")], at=0.1)
    meter.feed(b'data: {"choices":[{"delta":{"content":"', at=0.2)
    block = random.Random(1).randbytes(1 << 16).replace(b"\n", b"a").replace(b"\r", b"a")
    for _ in range(64):
        meter.feed(block, at=0.3)
    meter.feed(b'"}}],"usage":{"prompt_tokens":4,"completion_tokens":5,"total_tokens":9}}\n\ndata: [DONE]\n\n', at=0.4)
    found = meter.finish("ok", at=0.5)
    assert (counts(found), found.meter_fault) == ((4, 5, 9), "line_too_long")
