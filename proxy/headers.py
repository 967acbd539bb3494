"""Which headers pass, each way: one table. Pure.

Everything passes, in its order, with its case and its duplicates, but for what belongs to one hop (RFC 9110 section
7.6.1), weir's own labels, and `Host`, which must name the upstream. That is the whole list of what weir changes:

| header | request | answer |
|---|---|---|
| Connection, and what it names; Keep-Alive; Proxy-Connection; TE; Trailer; Upgrade | dropped | dropped |
| Transfer-Encoding | re-made as `chunked` where the body is chunked | the same |
| Host | the upstream's | - |
| Expect | dropped: weir answers `100 Continue` itself | - |
| x-weir-session, -project, -user, -tag-* | consumed | - |
| x-weir-call-id, x-weir-error | - | the upstream's dropped, weir's own call id added |
"""

from __future__ import annotations

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
_REQUEST_SPECIAL = HOP_BY_HOP | {b"host", b"expect"}
_RESPONSE_SPECIAL = HOP_BY_HOP | {b"x-weir-call-id", b"x-weir-error"}
_LABELS = b"x-weir-"
_NEVER_NOMINATED = frozenset((b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie", b"host"))
"""Names that `Connection` may not take away: dropping a credential or a body's description changes the call."""


def request_head(method: bytes, target: bytes, host: bytes, headers: Headers) -> bytes:
    """The head that goes upstream, as bytes with its closing blank line."""
    nominated = _nominated(headers)
    out = [b"%b %b HTTP/1.1\r\n" % (method, target)]
    for name, value in headers:
        low = name.lower()
        if low in _REQUEST_SPECIAL:
            if low == b"host":
                out.append(b"%b: %b\r\n" % (name, host))
            elif low == b"transfer-encoding":
                out.append(b"%b: chunked\r\n" % name)
        elif not low.startswith(_LABELS) and low not in nominated:
            out.append(b"%b: %b\r\n" % (name, value))
    out.append(b"\r\n")
    return b"".join(out)


def response_head(status: int, reason: bytes, headers: Headers, call_id: bytes, *, close: bool) -> bytes:
    """The head that goes to the client. `close` announces that the connection ends with this answer."""
    nominated = _nominated(headers)
    out = [b"HTTP/1.1 %d %b\r\n" % (status, reason)]
    for name, value in headers:
        low = name.lower()
        if low in _RESPONSE_SPECIAL:
            if low == b"transfer-encoding":
                out.append(b"%b: chunked\r\n" % name)
        elif low not in nominated:
            out.append(b"%b: %b\r\n" % (name, value))
    out.append(b"x-weir-call-id: %b\r\n" % call_id)
    out.append(b"connection: close\r\n\r\n" if close else b"\r\n")
    return b"".join(out)


def find(headers: Headers, wanted: bytes) -> bytes:
    """The first value of a header, empty when it is absent. `wanted` is lower-case."""
    size = len(wanted)
    for name, value in headers:
        if len(name) == size and name.lower() == wanted:
            return value
    return b""


def _nominated(headers: Headers) -> frozenset[bytes] | set[bytes]:
    """Header names that `Connection` declares to belong to this hop."""
    value = b",".join(value for name, value in headers if len(name) == 10 and name.lower() == b"connection")
    if not value or value in (b"keep-alive", b"close", b"Keep-Alive", b"Close"):
        return frozenset()
    names = {token.strip().lower() for token in value.split(b",")}
    return {name for name in names if name not in _NEVER_NOMINATED and not name.startswith(b"content-")}
