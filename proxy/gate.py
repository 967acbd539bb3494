"""What may enter: the rules that a request must keep before anything is forwarded. Pure.

llhttp has already refused broken framing (two lengths, folded headers, bare LF); the gate adds what it lets pass.
Decisions rest on the raw bytes of the request target, never on a URL rebuilt from the Host header. Sources: RFC 9112
sections 3.2, 6.1, 6.3; RFC 3986 section 3.3; the 65 hostile requests on which parsers disagree.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import NamedTuple

import orjson

from proxy.headers import RequestHead

METHODS = frozenset((b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS"))
MAX_TARGET = 8 << 10
"""Bytes of path and query. Gemini and Bedrock put model names in the path; 8 KiB is nginx's and Apache's default."""

_PHRASES = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PATH = re.compile(rb"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_QUERY = re.compile(rb"[\x21\x22\x24-\x7e]*")
_BAD_ESCAPE = re.compile(rb"%(?:00|0[aAdD]|5[cC])")
_DOT_SEGMENT = re.compile(rb"(?:^|/)\.{1,2}(?:/|$)")
_LENGTH = re.compile(rb"[0-9]{1,15}")


class Refusal(NamedTuple):
    """Why weir answers by itself: status, the reason of `x-weir-error`, a message for a person."""

    status: int
    reason: str
    message: str


class Framing(NamedTuple):
    """How the request's body is delimited: its length, None when it is chunked."""

    length: int | None


def check_target(method: bytes, target: bytes) -> Refusal | None:
    """Refuses what is no plain origin-form path, or could mean another path to the server behind."""
    if method not in METHODS:
        return Refusal(405, "method_not_allowed", f"method {_show(method)} is not forwarded")
    if len(target) > MAX_TARGET:
        return Refusal(414, "uri_too_long", f"the request target is longer than {MAX_TARGET} bytes")
    path, _, query = target.partition(b"?")
    if not _PATH.fullmatch(path) or not _QUERY.fullmatch(query):
        return Refusal(
            400, "bad_target", "the request target must be a path of printable ASCII, such as /openai/v1/models"
        )
    if b"//" in path or _BAD_ESCAPE.search(path) or _DOT_SEGMENT.search(_plain(path)):
        return Refusal(400, "bad_target", "empty, '.' and '..' segments, %00, %0d, %0a and %5c are refused in paths")
    return None


def check_headers(version: str, head: RequestHead, max_body: int) -> Refusal | Framing:
    """Refuses a head that two parsers could read differently; else says how long the body is."""
    if version != "1.1":
        return Refusal(
            505, "http_version", f"HTTP/{version} is not served; use HTTP/1.1 (nginx: proxy_http_version 1.1)"
        )
    if len(head.hosts) != 1 or not _HOST.fullmatch(head.hosts[0]):
        return Refusal(400, "bad_host", "a request needs exactly one Host header of the form host[:port]")
    if head.upgrade:
        return Refusal(501, "upgrade_not_supported", "protocol upgrades (WebSocket, h2c) are not forwarded")
    if head.codings:
        if head.codings != [b"chunked"] or head.lengths:
            return Refusal(400, "bad_framing", "Transfer-Encoding must be 'chunked', alone and without Content-Length")
        return Framing(None)
    if not head.lengths:
        return Framing(0)
    if len(head.lengths) > 1 or not _LENGTH.fullmatch(head.lengths[0]):
        return Refusal(400, "bad_framing", "a request may have one Content-Length, of digits only")
    if (length := int(head.lengths[0])) > max_body:
        return too_large(max_body)
    return Framing(length)


def too_large(max_body: int) -> Refusal:
    """The refusal of a body above `proxy.max_request_bytes`."""
    return Refusal(413, "body_too_large", f"the request body is larger than proxy.max_request_bytes = {max_body}")


def head_too_large(max_head: int) -> Refusal:
    """The refusal of a head above `proxy.max_head_bytes`."""
    return Refusal(431, "head_too_large", f"the request head is larger than proxy.max_head_bytes = {max_head}")


def answer(refusal: Refusal, call_id: bytes, *, head_only: bool = False) -> bytes:
    """The whole answer that weir gives by itself, in its one error shape; it always ends the connection."""
    body = orjson.dumps({"error": {"type": f"weir_{refusal.reason}", "message": refusal.message}})
    retry = b"retry-after: 1\r\n" if refusal.status == 503 else b""
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b"
        b"x-weir-error: %b\r\nx-weir-call-id: %b\r\nconnection: close\r\n\r\n%b"
    ) % (
        refusal.status,
        _PHRASES.get(refusal.status, b"Error"),
        len(body),
        retry,
        refusal.reason.encode("ascii"),
        call_id,
        b"" if head_only else body,
    )


def _plain(path: bytes) -> bytes:
    """The path as a careless server would read it: escaped dots and slashes undone."""
    if b"%" not in path:
        return path
    path = re.sub(rb"%2[eE]", b".", path)
    return re.sub(rb"%2[fF]", b"/", path)


def _show(value: bytes) -> str:
    return value[:32].decode("ascii", "replace")
