"""What is read of JSON that was not kept whole."""

from __future__ import annotations

import json

from hypothesis import given, strategies as st

from proxy.framing.salvage import HEAD_BYTES, TAIL_BYTES, Trimmed, salvage


def test_first_names_and_last_usage_are_found() -> None:
    head = b'{"id":"a","model":"m1","choices":[{"model":"m2"'
    tail = (
        b'"usage":null,"x":{"usage":{"prompt_tokens":1}},"y":"\\"usage\\":{}","usage":{"prompt_tokens":2,"d":{"c":1}}}'
    )
    assert json.loads(salvage(head, tail)) == {"id": "a", "model": "m1", "usage": {"prompt_tokens": 2, "d": {"c": 1}}}


def test_a_usage_that_was_cut_off_is_passed_over() -> None:
    tail = b'"usage":{"prompt_tokens":1},"b":1,"usage":{"prompt_tokens":2,"comp'
    assert json.loads(salvage(b"", tail)) == {"usage": {"prompt_tokens": 1}}


def test_geminis_usage_is_found_too() -> None:
    assert json.loads(salvage(b"", b'"usageMetadata": {"promptTokenCount": 4}}]')) == {
        "usageMetadata": {"promptTokenCount": 4}
    }


def test_a_number_of_5000_digits_costs_only_its_usage() -> None:
    assert salvage(b"", b'"usage":{"prompt_tokens":' + b"9" * 5000 + b"}") == b"{}"


@given(data=st.binary(max_size=400))
def test_nothing_raises(data: bytes) -> None:
    assert isinstance(json.loads(salvage(data, data)), dict)


def test_trimming_keeps_head_and_tail_for_any_cutting() -> None:
    data = bytes(range(256)) * 4096
    for size in (777, 65536, len(data)):
        trimmed = Trimmed(data[:size])
        for at in range(size, len(data), size):
            trimmed.add(data[at : at + size])
        assert trimmed._head[: min(size, HEAD_BYTES)] == data[: min(size, HEAD_BYTES)]
        assert bytes(trimmed._tail[-TAIL_BYTES:]) == data[-TAIL_BYTES:]
        assert len(trimmed._tail) <= 2 * TAIL_BYTES + size
