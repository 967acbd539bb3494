"""The five founding systems through weir: what passes is what was recorded, and the row says what there was to read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plugins.tapes import Script, Tape, names, tape
from tests.plugins.weir_tapes import Bench

UPSTREAM = {"000": "vision", "001": "engine", "002": "livepeer", "003": "ktransformers", "004": "segmind"}

LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"
FAILED = {"outcome": "upstream_error", "stream": 0, "input_tokens": None, "output_tokens": None, "cost_usd": None}
USAGE_002 = {"input_tokens": 16, "output_tokens": 5, "total_tokens": 21, "usage_source": "provider"}

ROWS: dict[str, dict[str, Any]] = {
    "000-err-402": {**FAILED, "http_status": 402, "request_model": "mixtral-8x7b"},
    "000-stream": {
        "outcome": "ok",
        "stream": 1,
        "request_model": "mixtral-8x7b",
        "response_model": None,
        "usage_source": "estimated",
        "output_tokens": 41,
        "finish_reason": "stop",
        "chunks": 43,
    },
    "001-health": {"outcome": "ok", "stream": 0, "input_tokens": None, "usage_source": "none", "cost_usd": None},
    "001-v03-err-429": {**FAILED, "http_status": 429, "request_model": "gpt-4"},
    "001-v03-stream": {
        "outcome": "ok",
        "stream": 1,
        "request_model": "gpt-3.5-turbo",
        "usage_source": "estimated",
        "input_tokens": 6,
        "output_tokens": 26,
    },
    "001-v10-err": {**FAILED, "http_status": 500, "request_model": "nope"},
    "001-v10-stream": {
        "outcome": "ok",
        "stream": 1,
        "request_model": "gpt-3.5-turbo",
        "usage_source": "provider",
        "input_tokens": 13,
        "output_tokens": 26,
        "total_tokens": 39,
    },
    "002-err-503": {**FAILED, "http_status": 503, "request_model": LLAMA},
    "002-nonstream": {"outcome": "ok", "stream": 0, "model": LLAMA, **USAGE_002},
    "002-stream": {"outcome": "ok", "stream": 1, "model": LLAMA, "finish_reason": "stop", **USAGE_002},
    "003-chat-stream": {
        "outcome": "ok",
        "stream": 1,
        "request_model": "Meta-Llama-3-8B-Instruct",
        "response_model": "not implmented",
        "model": "Meta-Llama-3-8B-Instruct",
        "usage_source": "estimated",
    },
    "003-err-500": {**FAILED, "http_status": 500, "request_model": "m"},
    "003-generate-stream": {
        "outcome": "ok",
        "stream": 1,
        "model": "Meta-Llama-3-8B-Instruct",
        "usage_source": "estimated",
    },
    "004-err-405": {**FAILED, "http_status": 405, "request_model": "mixtral-8x7b-instruct"},
    "004-err-406": {**FAILED, "http_status": 406, "request_model": "mixtral-8x7b-instruct"},
    "004-ok": {
        "outcome": "ok",
        "stream": 0,
        "request_model": "mixtral-8x7b-instruct",
        "usage_source": "provider",
        "input_tokens": 43,
        "output_tokens": 19,
        "total_tokens": 62,
        "upstream_request_id": "7d7e1e2a",
        "cost_usd": pytest.approx(0.00031),
        "cost_source": "provider",
    },
}
"""What must be in the row of each tape. The rest is checked for all of them."""


def test_each_tape_has_its_row() -> None:
    assert names() == sorted(ROWS)


@pytest.fixture(params=names())
def recorded(request: pytest.FixtureRequest) -> Tape:
    return tape(request.param)


def upstream(recorded: Tape) -> str:
    return UPSTREAM[recorded.name[:3]]


def test_the_client_reads_what_it_reads_without_weir(bench: Bench, recorded: Tape) -> None:
    """Status line, header order, case and duplicates, body, HTTP chunk by HTTP chunk, and the end."""
    bench.play(recorded.writes)
    assert bench.both(recorded.asked, upstream(recorded)).ended == "clean"


def test_the_upstream_reads_what_the_client_wrote(bench: Bench, recorded: Tape) -> None:
    """Byte for byte, but for the path that names the upstream, and `Host`."""
    bench.play(recorded.writes)
    name = upstream(recorded)
    bench.through(recorded.asked(f"/{name}"))
    prefix = "/api/beta/generate" if name == "livepeer" else ""
    assert [message.raw for message in bench.player.requests] == [recorded.asked(prefix, bench.player.authority)]


def test_the_row_says_what_passed(bench: Bench, recorded: Tape) -> None:
    bench.play(recorded.writes)
    answer = bench.through(recorded.asked(f"/{upstream(recorded)}"))
    row = bench.row(answer)
    assert {name: row[name] for name in ROWS[recorded.name]} == ROWS[recorded.name]
    assert row["upstream"] == row["provider"] == upstream(recorded)
    assert row["http_status"] == answer.status
    assert row["meter_fault"] is None
    assert row["response_bytes"] == len(answer.body)
    assert row["request_bytes"] == len(recorded.request.partition(b"\r\n\r\n")[2])
    assert row["chunks"] == len(answer.chunks)


def test_estimates_are_near(bench: Bench) -> None:
    """KTransformers tells no usage: its events with content are about its tokens."""
    recorded = tape("003-chat-stream")
    bench.play(recorded.writes)
    row = bench.row(bench.through(recorded.asked("/ktransformers")))
    assert 8 <= row["output_tokens"] <= 30
    assert row["input_tokens"] > 2


def test_the_first_token_is_the_first_with_content(bench: Bench) -> None:
    """KTransformers' first event is empty; so the first token comes later than the first chunk."""
    recorded = tape("003-chat-stream")
    bench.play(recorded.writes)
    row = bench.row(bench.through(recorded.asked("/ktransformers")))
    assert row["first_chunk_ms"] < row["ttft_ms"] < row["duration_ms"]


@pytest.mark.parametrize("name", ["000-stream", "001-v10-stream", "002-stream", "003-generate-stream"])
def test_a_stream_cut_off_is_cut_off(bench: Bench, name: str) -> None:
    """No last chunk from the upstream, none from weir: the client must be able to tell."""
    recorded = tape(name)
    bench.play(Script(recorded.writes[:3], then="close"))
    answer = bench.through(recorded.asked(f"/{upstream(recorded)}"))
    assert (answer.framing, answer.ended, len(answer.chunks)) == ("chunked", "cut", 2)
    assert bench.row(answer)["outcome"] == "upstream_cut"


def test_several_chunks_in_one_segment_stay_several(bench: Bench) -> None:
    """TCP may join what the upstream wrote apart; HTTP chunks must not become fewer by that."""
    recorded = tape("001-v10-stream")
    bench.play([recorded.response])
    assert len(bench.both(recorded.asked, "engine").chunks) > 25


def test_chunks_torn_by_tcp_are_whole_again(bench: Bench) -> None:
    recorded = tape("001-v10-stream")
    step = 700
    bench.play([recorded.response[i : i + step] for i in range(0, len(recorded.response), step)])
    assert len(bench.both(recorded.asked, "engine").chunks) > 25
