"""Which requests on the proxy port are for weir itself, and how its application is told of one. Pure.

What the application answers is in `proxy.worker`; everything else on the port is proxied.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from proxy.headers import Headers


def own_path(target: bytes) -> bool:
    """Whether a request is for weir itself: its health, and LLMstudio's own API."""
    path = target.partition(b"?")[0]
    return path in (b"/health", b"/llmstudio") or path.startswith((b"/llmstudio/", b"/api/engine/", b"/api/tracking/"))


def request_scope(method: bytes, target: bytes, version: str, headers: Headers) -> dict[str, Any]:
    """What a request says, in the words of an ASGI scope; the connection's side of it is the listener's."""
    path, _, query = target.partition(b"?")
    return {
        "http_version": version,
        "method": method.decode("ascii"),
        "path": unquote(path.decode("ascii", "replace")),
        "raw_path": path,
        "query_string": query,
        "headers": [(name.lower(), value) for name, value in headers],
    }
