"""What is decided about a request before anything is forwarded: gate, route, identity and headers, in that order.

A `Decision` holds for the head it was made from. An SDK sends the same head again and again over one connection, only
its Content-Length differs: `Repeat` recognises that and spares parsing and deciding, half of what weir does in a call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from proxy.gate import Refusal, check_headers, check_target, head_too_large
from proxy.headers import Headers, RequestHead, request_head
from proxy.identity import Identity, MalformedLabel, identify, key_id
from proxy.route import Router, Target

MAX_PATHS = 2048
"""Targets whose route is remembered: real traffic has some dozen; paths with ids in them push each other out."""
MAX_CACHED_TARGET = 256

_LENGTH = re.compile(rb"\r\n(?i:content-length):[ \t]*([0-9]{1,9})[ \t]*(?=\r\n)")


@dataclass(slots=True)
class Request:
    """One request as the listener parsed it. `pieces` are body bytes that came before the exchange began."""

    method: bytes = b""
    target: bytes = b""
    version: str = "1.1"
    headers: Headers = field(default_factory=list, repr=False)
    """They hold keys, so no repr shows them."""
    pieces: list[bytes] = field(default_factory=list)
    complete: bool = False
    at: float = 0.0
    """Monotonic seconds when the head was whole."""
    started_at: int = 0
    """The same as microseconds since 1970 UTC."""


@dataclass(slots=True, frozen=True)
class Decision:
    """Where a request goes, whose it is, and the head that goes upstream."""

    target: Target
    identity: Identity
    key_id: str
    method: str
    content_type: str
    content_encoding: str
    chunked: bool
    outgoing: bytes = field(repr=False)
    """The head that goes upstream; it holds the key."""
    columns: tuple[Any, ...] = field(init=False)
    """What the record of the call says of all this, in the order of `Call` from `method` on; no session is empty."""

    def __post_init__(self) -> None:
        """Lays the record's columns out once, as a decision may serve many calls."""
        target, upstream, who = self.target, self.target.upstream, self.identity
        columns = (
            self.method, target.path, upstream.name, upstream.provider, target.operation, target.wire_format,
            who.session, who.session_source, who.project, who.user, self.key_id, who.tags, who.trace_id,
        )  # fmt: skip
        object.__setattr__(self, "columns", columns)


class Refused(Exception):
    """The request is refused. `target` is where it would have gone, if that is known."""

    def __init__(self, refusal: Refusal, target: Target | None = None) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal
        self.target = target


class Decider:
    """Decides for one worker. Nothing is kept but the routes of targets without a query, which may hold keys."""

    def __init__(self, router: Router, *, secret: bytes, max_head_bytes: int, max_request_bytes: int) -> None:
        self._router = router
        self._secret = secret
        self._max_head_bytes = max_head_bytes
        self._max_request_bytes = max_request_bytes
        self._paths: dict[tuple[bytes, bytes], Target | Refusal] = {}

    def decide(self, request: Request) -> Decision:
        """Raises Refused."""
        route = self._route(request.method, request.target)
        target = route if isinstance(route, Target) else None
        head = RequestHead(request.headers)
        if head.size + len(request.target) > self._max_head_bytes:
            raise Refused(head_too_large(self._max_head_bytes), target)
        framing = check_headers(request.version, head, self._max_request_bytes)
        if isinstance(framing, Refusal):
            raise Refused(framing, target)
        if not isinstance(route, Target):
            raise Refused(route)
        try:
            identity = identify(head, route.query, route.labels)
        except MalformedLabel as error:
            raise Refused(error.refusal(), target) from None
        return Decision(
            target=route,
            identity=identity,
            key_id=key_id(self._secret, identity.credential),
            method=request.method.decode("ascii"),
            content_type=head.content_type.decode("latin-1"),
            content_encoding=head.content_encoding.decode("latin-1"),
            chunked=framing.length is None,
            outgoing=request_head(request.method, route.target, route.upstream.authority, head),
        )

    def _route(self, method: bytes, target: bytes) -> Target | Refusal:
        """Gate and router, remembered: the decision for a method and target never changes in a worker's life."""
        known = self._paths.get((method, target))
        if known is None:
            known = check_target(method, target) or self._router.route(method.decode("ascii"), target)
            if len(target) <= MAX_CACHED_TARGET and b"?" not in target:
                if len(self._paths) >= MAX_PATHS:
                    self._paths.clear()
                self._paths[method, target] = known
        return known


class Repeat:
    """A head seen before on its connection and the decision for it, good for any other Content-Length."""

    __slots__ = ("_before", "_behind", "_out_before", "_out_behind", "decision", "max_body")

    def __init__(self, raw: bytes, decision: Decision, max_body: int) -> None:
        """`raw` is the head as it came, its blank line included. Raises ValueError where it has not one length."""
        self.decision = decision
        self.max_body = max_body
        self._before, self._behind = _around_length(raw)
        self._out_before, self._out_behind = _around_length(decision.outgoing)

    def body_at(self, data: bytes) -> int:
        """Where the body begins if `data` is this head again with a whole body and nothing behind it; else 0."""
        if not data.startswith(self._before):
            return 0
        at = len(self._before)
        end = data.find(b"\r", at, at + 10)
        digits = data[at:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self._behind, end):
            return 0
        start = end + len(self._behind)
        length = int(digits)
        return start if len(data) - start == length <= self.max_body else 0

    def outgoing(self, length: int) -> bytes:
        """The head that goes upstream for a body of this length."""
        return b"%b%d%b" % (self._out_before, length, self._out_behind)


def _around_length(head: bytes) -> tuple[bytes, bytes]:
    found = list(_LENGTH.finditer(head))
    if len(found) != 1:
        raise ValueError("the head does not have exactly one Content-Length")
    return head[: found[0].start(1)], head[found[0].end(1) :]
