"""What is weir's own on the proxy port: exact paths, nothing that only begins like them."""

from __future__ import annotations

import pytest

from proxy.own_requests import own_path, request_scope


@pytest.mark.parametrize(
    "target", [b"/health", b"/health?x=1", b"/llmstudio", b"/llmstudio/x", b"/api/engine/chat/a", b"/api/tracking/logs"]
)
def test_own(target: bytes) -> None:
    assert own_path(target)


@pytest.mark.parametrize(
    "target", [b"/healthy", b"/health/", b"/openai/health", b"/api/chat", b"/api/engines", b"/llmstudio-engine/x", b""]
)
def test_not_own(target: bytes) -> None:
    assert not own_path(target)


def test_scope() -> None:
    scope = request_scope(b"GET", b"/api/engine/a%20b?x=%20", "1.1", [(b"X-A", b"1"), (b"X-A", b"2")])
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (
        "/api/engine/a b",
        b"/api/engine/a%20b",
        b"x=%20",
    )
    assert scope["headers"] == [(b"x-a", b"1"), (b"x-a", b"2")]
    assert (scope["method"], scope["http_version"]) == ("GET", "1.1")
