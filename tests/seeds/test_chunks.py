"""HTTP chunks arrive as they were sent, both ways: LLMstudio's clients parse one JSON object per chunk."""

from __future__ import annotations

import json
import random

import pytest

from tests.plugins.rawhttp import chunked, request
from tests.plugins.weir_tapes import Bench

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
ASK = b'{"chat_input": "x", "model": "gpt-4o", "is_stream": true}'


def ask(prefix: str) -> bytes:
    return request("POST", f"{prefix}/api/engine/chat/openai", [(b"Content-Type", b"application/json")], ASK)


def objects(count: int, size: int) -> list[bytes]:
    """LLMstudio 1.0's stream for a long prompt: each object repeats it."""
    return [json.dumps({"choices": [], "n": n, "context": "x" * size}).encode() for n in range(count)]


@pytest.mark.parametrize("size", [10, 30_000, 64 << 10, 200_000, 1 << 20])
def test_one_object_per_chunk(bench: Bench, size: int) -> None:
    sent = objects(6, size)
    bench.play([HEAD, *chunked(sent)])
    answer = bench.both(ask, "engine")
    assert answer.chunks == sent
    assert [json.loads(chunk)["n"] for chunk in answer.chunks] == list(range(6))


def test_chunks_of_every_size(bench: Bench) -> None:
    sizes = random.Random(7).choices([1, 2, 3, 17, 255, 256, 4095, 65_535, 65_536, 65_537, 300_000], k=25)
    sent = [bytes([65 + n % 26]) * size for n, size in enumerate(sizes)]
    bench.play([HEAD, *chunked(sent)])
    assert bench.both(ask, "engine").chunks == sent


def test_a_large_body_with_a_length(bench: Bench) -> None:
    body = random.Random(7).randbytes(5 << 20)
    bench.play([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body[: 1 << 20], body[1 << 20 :]])
    assert bench.both(ask, "engine").body == body


def test_chunk_extensions_are_dropped_and_trailers_do_not_break(bench: Bench) -> None:
    """RFC 9112 section 7.1.1: extensions belong to one hop."""
    bench.play([HEAD, b"5;a=b\r\nhello\r\n", b"1 \r\n!\r\n", b"0\r\nx-checksum: 7\r\n\r\n"])
    answer = bench.through(ask("/engine"))
    assert (answer.chunks, answer.ended) == ([b"hello", b"!"], "clean")


@pytest.mark.parametrize("sizes", [[1, 1, 1], [10, 70_000, 3], [200_000] * 4])
def test_an_upload_keeps_its_chunks(bench: Bench, sizes: list[int]) -> None:
    bench.play([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"])
    sent = [b"y" * size for size in sizes]
    head = b"POST /raw/v1/files HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert bench.through([head, *chunked(sent)]).status == 200
    assert [message.chunks for message in bench.player.requests] == [sent]


def test_an_upload_keeps_its_chunks_when_they_come_together(bench: Bench) -> None:
    bench.play([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"])
    sent = [b"one", b"two", b"three"]
    head = b"POST /raw/v1/files HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert bench.through(head + b"".join(chunked(sent))).status == 200
    assert [message.chunks for message in bench.player.requests] == [sent]
