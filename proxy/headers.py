"""Which headers pass, each way: one table. Pure.

Everything passes, in its order, with its case and its duplicates, but for what belongs to one hop (RFC 9110 section
7.6.1), weir's own labels, and `Host`, which must name the upstream. That is the whole list of what weir changes:

| header | request | answer |
|---|---|---|
| Connection, and what it names; Keep-Alive; Proxy-Connection; TE; Trailer; Upgrade | dropped | dropped |
| Transfer-Encoding | `chunked` where the body is chunked | the same |
| Transfer_Encoding, Content_Length (CGI servers take `_` for `-`) | dropped | - |
| Host | the upstream's | - |
| Expect | dropped: weir answers `100 Continue` itself | - |
| x-weir-session, -project, -user, -tag-* | consumed | - |
| x-weir-call-id, x-weir-error | - | the upstream's dropped, weir's own call id added |
"""

from __future__ import annotations

import re
from enum import IntEnum

Headers = list[tuple[bytes, bytes]]

MAX_NAMES = 4096
"""Header names whose kind is remembered, then all are forgotten; real traffic has some hundred."""
MAX_NAME = 64
"""Bytes of a name that is remembered: clients choose them, and a head may be one name of 32 KiB."""

_NEVER_NOMINATED = frozenset(
    (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie", b"host", b"transfer-encoding")
)
"""Names that `Connection` may not take away, with all `content-*`: without its credential a call is another one, and
without its framing a body is read as the next request."""
_HARMLESS = frozenset((b"keep-alive", b"close", b"Keep-Alive", b"Close"))
_DROPPED = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"x-weir-call-id",
        b"x-weir-error",
    )
)
"""Names, lower-case, that never pass from an answer."""
_ANSWER_LINE = rb"\r\n(?i:%b)[ \t]*:[^\r\n]*"
_ANSWER_HOP = re.compile(_ANSWER_LINE % b"|".join(sorted(_DROPPED)))
ANSWER_PLAIN, ANSWER_LENGTH, ANSWER_CODING, ANSWER_HOP = range(4)
"""Kinds of an answer's header: passes; says how long the body is (two ways); never passes."""
_ANSWER_KINDS: dict[bytes, int] = {}
_CONNECTION = re.compile(rb"\r\n(?i:connection)[ \t]*:[ \t]*([^\r\n]*)")


class _Kind(IntEnum):
    PASS = 1
    DROP = 2
    HOST = 3
    LENGTH = 4
    CODING = 5
    CONNECTION = 6
    UPGRADE = 7
    EXPECT = 8
    LABEL = 9
    CREDENTIAL = 10
    TRACE = 11
    TYPE = 12
    ENCODING = 13


_SPECIAL = {
    b"keep-alive": _Kind.DROP,
    b"proxy-connection": _Kind.DROP,
    b"te": _Kind.DROP,
    b"transfer_encoding": _Kind.DROP,
    b"content_length": _Kind.DROP,
    b"trailer": _Kind.DROP,
    b"host": _Kind.HOST,
    b"content-length": _Kind.LENGTH,
    b"transfer-encoding": _Kind.CODING,
    b"connection": _Kind.CONNECTION,
    b"upgrade": _Kind.UPGRADE,
    b"expect": _Kind.EXPECT,
    b"authorization": _Kind.CREDENTIAL,
    b"x-api-key": _Kind.CREDENTIAL,
    b"api-key": _Kind.CREDENTIAL,
    b"x-goog-api-key": _Kind.CREDENTIAL,
    b"traceparent": _Kind.TRACE,
    b"content-type": _Kind.TYPE,
    b"content-encoding": _Kind.ENCODING,
}
_KINDS: dict[bytes, _Kind] = {}
"""Name as sent → kind: a request's ten headers cost one look-up each instead of eight comparisons."""


def _kind(name: bytes) -> _Kind:
    low = name.lower()
    kind = _Kind.LABEL if low.startswith(b"x-weir-") else _SPECIAL.get(low, _Kind.PASS)
    if len(name) <= MAX_NAME:
        if len(_KINDS) >= MAX_NAMES:
            _KINDS.clear()
        _KINDS[name] = kind
    return kind


def answer_kind(name: bytes) -> int:
    """The kind of an answer's header, remembered by its name as sent."""
    kind = _ANSWER_KINDS.get(name)
    if kind is None:
        low = name.lower()
        lengths = {b"content-length": ANSWER_LENGTH, b"transfer-encoding": ANSWER_CODING}
        kind = ANSWER_HOP if low in _DROPPED else lengths.get(low, ANSWER_PLAIN)
        if len(name) <= MAX_NAME:
            if len(_ANSWER_KINDS) >= MAX_NAMES:
                _ANSWER_KINDS.clear()
            _ANSWER_KINDS[name] = kind
    return kind


class RequestHead:
    """A request's headers, read once: what the gate, the router and the meter ask for, and what goes upstream."""

    __slots__ = (
        "_host_at",
        "codings",
        "connection",
        "content_encoding",
        "content_type",
        "credential",
        "expects",
        "hosts",
        "labels",
        "lengths",
        "passing",
        "size",
        "traceparent",
        "upgrade",
    )  # fmt: skip

    def __init__(self, headers: Headers) -> None:
        self.hosts: list[bytes] = []
        self.lengths: list[bytes] = []
        self.codings: list[bytes] = []
        self.connection = self.content_type = self.content_encoding = self.credential = self.traceparent = b""
        self.upgrade = self.expects = False
        self.labels: Headers = []
        self.passing: list[bytes] = []
        """Header lines as they go upstream, the one for Host still empty."""
        self._host_at = 0
        self.size = 0
        """Bytes of the header lines."""
        passing, size = self.passing, 0
        for name, value in headers:
            size += len(name) + len(value) + 4
            kind = _KINDS.get(name) or _kind(name)
            if kind is _Kind.PASS or self._take(kind, name, value):
                passing.append(b"%b: %b\r\n" % (name, value))
        self.size = size
        if self.connection and self.connection not in _HARMLESS:
            self._drop_nominated()

    def lines(self, host: bytes) -> list[bytes]:
        """The header lines for an upstream."""
        if self.hosts:
            self.passing[self._host_at] += host + b"\r\n"
        return self.passing

    def _take(self, kind: _Kind, name: bytes, value: bytes) -> bool:
        """Keeps what a special header says; True when it passes like any other."""
        match kind:
            case _Kind.LENGTH:
                self.lengths.append(value)
            case _Kind.TYPE:
                self.content_type = value
            case _Kind.CREDENTIAL:
                self.credential = self.credential or value
            case _Kind.TRACE:
                self.traceparent = value
            case _Kind.ENCODING:
                self.content_encoding = value
            case _:
                self._take_own(kind, name, value)
                return False
        return True

    def _take_own(self, kind: _Kind, name: bytes, value: bytes) -> None:
        match kind:
            case _Kind.HOST:
                self.hosts.append(value)
                self._host_at = len(self.passing)
                self.passing.append(b"%b: " % name)
            case _Kind.CODING:
                self.codings.append(value.strip().lower())
                self.passing.append(b"%b: chunked\r\n" % name)
            case _Kind.CONNECTION:
                self.connection = b"%b,%b" % (self.connection, value) if self.connection else value
            case _Kind.UPGRADE:
                self.upgrade = True
            case _Kind.EXPECT:
                self.expects = True
            case _Kind.LABEL:
                self.labels.append((name, value))

    def _drop_nominated(self) -> None:
        names = nominated(self.connection)
        host = self.passing[self._host_at] if self.hosts else b""
        self.passing = [line for line in self.passing if line.partition(b":")[0].lower() not in names]
        self._host_at = self.passing.index(host) if host else 0


def request_head(method: bytes, target: bytes, host: bytes, head: RequestHead) -> bytes:
    """The head that goes upstream, as bytes with its closing blank line."""
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, b"".join(head.lines(host)))


def response_head(raw: bytes, call_id: bytes, *, close: bool, plain: bool = False) -> bytes:
    """The head that goes to the client, made from the upstream's own bytes; `close`: the connection ends with it.

    `plain` says that the head is known to hold no header of kind ANSWER_HOP.
    """
    if not raw.startswith(b"HTTP/1.1 "):
        raw = b"HTTP/1.1" + raw[raw.index(b" ") :]
    if not plain:
        for value in _CONNECTION.findall(raw):
            for name in nominated(value):
                raw = re.sub(_ANSWER_LINE % re.escape(name), b"", raw)
        raw = _ANSWER_HOP.sub(b"", raw)
    end = b"connection: close\r\n\r\n" if close else b"\r\n"
    return b"%bx-weir-call-id: %b\r\n%b" % (raw[:-2], call_id, end)


def nominated(connection: bytes) -> set[bytes]:
    """The header names that a `Connection` value declares to belong to its hop."""
    if connection in _HARMLESS:
        return set()
    names = {token.strip().lower() for token in connection.split(b",")}
    return {name for name in names if name and name not in _NEVER_NOMINATED and not name.startswith(b"content-")}
