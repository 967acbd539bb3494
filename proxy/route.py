"""Raw path → where the call goes: upstream, target on the wire, wire format, labels. Pure.

A path names its upstream (`/openai/v1/…`), or is bare and goes to the upstream that it implies (`/v1/messages`
→ anthropic); `/with/session=abc/…` in front of either labels it. The rest of the path goes on byte for byte behind the
upstream's own prefix. Upstreams come from the configuration alone: nothing a client sends can name another host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import urlsplit

from proxy.gate import Refusal
from proxy.identity import Labels, MalformedLabel, parse_path_labels
from proxy.wire import FORMATS, classify

_DEFAULT_PORTS = {"http": 80, "https": 443}
_BARE = {b"/v1/messages": "anthropic", b"/v1beta": "gemini", b"/api/chat": "ollama", b"/api/generate": "ollama"}
"""Bare paths (and all below them) that only one upstream has; every other `/v1/…` goes to the default upstream."""
_GEMINI_VERB = re.compile(rb"/v1/models/[^/]+:(?:batchEmbed|count|embed|generate|streamGenerate)[A-Z][A-Za-z]+")
"""Gemini's own form below `/v1`, which google-genai uses by default; OpenAI's `ft:…` models have no such verb."""


@dataclass(frozen=True, slots=True)
class UpstreamRoute:
    """One configured upstream, ready for use on the wire."""

    name: str
    provider: str
    scheme: str
    host: str
    port: int
    authority: bytes
    """What `Host` says: the host, and the port where it is not the scheme's own."""
    prefix: bytes
    """Path of the base URL without its closing slash."""
    estimate: str = "chat"
    ca_file: str | None = None
    wire: tuple[tuple[str, str], ...] = ()
    """(path glob, wire format) of paths whose name does not say what they speak."""


class Target(NamedTuple):
    """Where one call goes."""

    upstream: UpstreamRoute
    target: bytes
    """Path and query as the upstream gets them."""
    path: str
    """The same without its query, cut for the record."""
    query: bytes
    wire_format: str
    operation: str
    labels: Labels

    def __repr__(self) -> str:
        """Without the query, which may hold a key: a repr may end up in a log."""
        return f"Target({self.upstream.name!r}, {self.path!r}, {self.wire_format!r}, {self.operation!r})"


def upstream_route(
    name: str,
    base_url: str,
    *,
    provider: str = "",
    estimate: str = "chat",
    ca_file: str | None = None,
    wire: Mapping[str, str] | None = None,
) -> UpstreamRoute:
    """Takes a checked base URL (`scheme://host[:port][/prefix]`) apart."""
    url = urlsplit(base_url)
    host = url.hostname or ""
    port = url.port or _DEFAULT_PORTS[url.scheme]
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == _DEFAULT_PORTS[url.scheme] else f"{shown}:{port}"
    return UpstreamRoute(
        name=name,
        provider=provider or name,
        scheme=url.scheme,
        host=host,
        port=port,
        authority=authority.encode("ascii"),
        prefix=url.path.rstrip("/").encode("ascii"),
        estimate=estimate,
        ca_file=ca_file,
        wire=tuple((wire or {}).items()),
    )


class Router:
    """All upstreams by name. `route` decides; the answer for a path never changes, so callers may keep it."""

    def __init__(self, upstreams: Mapping[str, UpstreamRoute], default: str) -> None:
        self._upstreams = {name.encode("ascii"): route for name, route in upstreams.items()}
        self._default = default.encode("ascii")

    def route(self, method: str, target: bytes) -> Target | Refusal:
        """Where a request target that the gate let pass goes, or why nowhere."""
        labels: Labels = ()
        rest = target
        if target.startswith(b"/with/"):
            path, question, query = target[6:].partition(b"?")
            segment, slash, tail = path.partition(b"/")
            try:
                labels = parse_path_labels(segment)
            except MalformedLabel as error:
                return error.refusal()
            rest = slash + tail + question + query
        upstream, rest = self._find(rest)
        if upstream is None:
            return self._unknown(rest)
        return _target(upstream, method, rest, labels)

    def _find(self, target: bytes) -> tuple[UpstreamRoute | None, bytes]:
        path = target.partition(b"?")[0]
        first, slash, _ = path[1:].partition(b"/")
        if (named := self._upstreams.get(first)) is not None:
            return named, target[1 + len(first) :] if slash else b"/" + target[1 + len(first) :]
        for prefix, name in _BARE.items():
            if path == prefix or path.startswith(prefix + b"/"):
                return self._upstreams.get(name.encode("ascii")), target
        if path.startswith(b"/v1/"):
            return self._upstreams.get(b"gemini" if _GEMINI_VERB.fullmatch(path) else self._default), target
        return None, target

    def _unknown(self, target: bytes) -> Refusal:
        first = target.partition(b"?")[0][1:].partition(b"/")[0][:64].decode("ascii", "replace")
        known = ", ".join(sorted(name.decode() for name in self._upstreams)[:40])
        return Refusal(
            404,
            "unknown_upstream",
            f"no upstream is called {first!r}; known: {known}. A path is /UPSTREAM/…, a bare /v1/…, or "
            "/with/session=ID/ in front of either; add an [upstreams.NAME] table for another one",
        )


def _target(upstream: UpstreamRoute, method: str, rest: bytes, labels: Labels) -> Target:
    raw_path, _, query = rest.partition(b"?")
    path = raw_path.decode("ascii")
    kind = classify(method, path)
    wire_format, operation = kind.wire_format, kind.operation
    named = next((name for glob, name in upstream.wire if fnmatchcase(path, glob)), None)
    if named in FORMATS:
        wire_format, operation = named, FORMATS[named].operation
    return Target(
        upstream=upstream,
        target=upstream.prefix + rest,
        path=(upstream.prefix + raw_path).decode("ascii")[:512],
        query=query,
        wire_format=wire_format,
        operation=operation,
        labels=labels,
    )
