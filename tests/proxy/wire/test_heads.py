"""What an answer's head says."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from proxy.wire.heads import Heads, read_heads


def test_names_come_in_any_case() -> None:
    for case in (bytes.lower, bytes.upper, bytes.title):
        heads = read_heads([(case(b"content-type"), b"text/event-stream"), (case(b"content-encoding"), b"gzip"),
                            (case(b"content-length"), b"5"), (case(b"x-request-id"), b"r1")])  # fmt: skip
        assert heads == Heads("text/event-stream", "gzip", True, "r1")


def test_codings_of_two_lines_are_one_chain() -> None:
    assert read_heads([(b"content-encoding", b"gzip"), (b"content-encoding", b"br")]).content_encoding == "gzip,br"


@pytest.mark.parametrize("name", [b"request-id", b"apim-request-id", b"x-amzn-requestid", b"x-generation-id",
                                  b"mistral-correlation-id", b"cf-ray"])  # fmt: skip
def test_an_id_for_the_support_ticket(name: bytes) -> None:
    assert read_heads([(name, b"abc")]).request_id == "abc"
    assert read_heads([(name, b"abc"), (b"x-request-id", b"best")]).request_id == "best"


def test_segminds_credits_and_cost() -> None:
    heads = read_heads([(b"x-remaining-credits", b"98.76543"), (b"x-cost", b"0.00031")])
    assert (heads.credits, heads.cost_nusd) == (98.76543, 310_000)
    assert read_heads([(b"x-remaining-credits", b"0")]).credits == 0.0


@pytest.mark.parametrize("value", [b"", b"many", b"nan", b"-inf", b"\xff"])
def test_what_is_no_number_is_unknown(value: bytes) -> None:
    heads = read_heads([(b"x-remaining-credits", value), (b"x-cost", value), (b"x-prompt-tokens", value)])
    assert (heads.credits, heads.cost_nusd, heads.usage) == (None, None, None)


def test_counts_of_tgi_and_fireworks() -> None:
    assert read_heads([(b"X-Prompt-Tokens", b"3"), (b"x-generated-tokens", b"4")]).usage == {
        "prompt_tokens": 3, "completion_tokens": 4}  # fmt: skip
    assert read_heads([(b"fireworks-prompt-tokens", b"9" * 40)]).usage is None


@given(
    headers=st.lists(
        st.tuples(st.sampled_from([b"x-cost", b"Content-Type", b"x-prompt-tokens", b"cf-ray", b"a"]), st.binary())
    )
)
def test_nothing_raises(headers: list[tuple[bytes, bytes]]) -> None:
    heads = read_heads(headers)
    assert len(heads.request_id or "") <= 256
