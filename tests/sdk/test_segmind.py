"""Segmind's own client, pointed at weir by its base URL alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.plugins.weir_books import Books

segmind = pytest.importorskip("segmind")

HELLO = [{"role": "user", "content": "tell me a joke on cats"}]


def chat(base: str, headers: Mapping[str, str]) -> Any:
    """The client takes no headers of ours; the simulator reads its wishes from the body too."""
    sdk = segmind.SegmindClient(api_key="SG_0123456789abcdef", base_url=f"{base}/v1")
    try:
        return sdk.chat_sync("mixtral-8x7b-instruct", messages=HELLO, metadata=dict(headers)).raw
    finally:
        sdk._client.close()


def test_chat(books: Books) -> None:
    both = books.balanced("segmind", chat)
    assert both.row["model"] == "mixtral-8x7b-instruct"
    assert both.row["cost_source"] == "provider"
    assert both.row["key_id"].startswith("k-")


def test_errors_look_the_same(books: Books) -> None:
    def call(base: str, headers: Mapping[str, str]) -> Any:
        with pytest.raises(segmind.exceptions.SegmindError) as caught:
            chat(base, headers)
        return type(caught.value), str(caught.value)

    both = books.twice("segmind", call, fault="status=406")
    assert (both.row["outcome"], both.row["http_status"]) == ("upstream_error", 406)
