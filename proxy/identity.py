"""Whose call is it: session, project, user, tags and key, from what weir's own headers and path labels say. Pure.

A label in a header beats the same label in the path: the path is set once for an app, the header for a call. Values are
client input: they are bounded, must be printable UTF-8, and never become a metric label without a bound.
"""

from __future__ import annotations

import hmac
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from proxy.gate import Refusal
from proxy.headers import Headers, RequestHead

MAX_LABEL = 256
"""Bytes of a label value; OpenAI's own metadata values allow 512, session ids in the wild are below 100."""
MAX_TAGS = 16
"""Tags on one call, as many as OpenAI's `metadata` takes."""

_TAG_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
_QUERY_KEYS = (b"key", b"api_key", b"access_token")
_NAMES = ("session", "project", "user")


class MalformedLabel(ValueError):
    """A label that is refused; the message names it."""

    def refusal(self) -> Refusal:
        """As the answer that the client gets."""
        return Refusal(400, "malformed_labels", str(self))


class Identity(NamedTuple):
    """Whose call it is; empty strings where nothing says so."""

    session: str = ""
    session_source: str = "none"
    project: str = ""
    user: str = ""
    tags: dict[str, str] | None = None
    trace_id: str = ""
    credential: bytes = b""
    """The key as sent, for its fingerprint only; never stored, never logged."""

    def __repr__(self) -> str:
        """Without the key: a repr may end up in a log."""
        return f"Identity({self[:-1]!r}, credential={'***' if self.credential else ''})"


Labels = tuple[tuple[str, str], ...]
"""Labels of a path, in order: (`session` | `project` | `user` | `tag-NAME`, value)."""


def parse_path_labels(segment: bytes) -> Labels:
    """`session=abc,project=search` → labels. Raises MalformedLabel."""
    labels: dict[str, str] = {}
    for pair in segment.split(b","):
        raw_name, equals, value = pair.partition(b"=")
        name = raw_name.decode("ascii", "replace").lower()
        if not equals or not _known(name):
            raise MalformedLabel(f"path label {name[:64]!r}: use session=…, project=…, user=… or tag-NAME=…")
        if name in labels:
            raise MalformedLabel(f"path label {name!r} is given twice")
        labels[name] = _clean(name, unquote_to_bytes(value))
    return tuple(labels.items())


def identify(head: RequestHead, query: bytes, path_labels: Labels = ()) -> Identity:
    """Reads the labels of one request. Raises MalformedLabel."""
    credential = head.credential or (_query_key(query) if query else b"")
    trace_id = _trace_id(head.traceparent) if head.traceparent else ""
    if not head.labels and not path_labels:
        return Identity(trace_id=trace_id, credential=credential)
    labels = dict(path_labels)
    own = _header_labels(head.labels)
    source = "header" if "session" in own else "path" if "session" in labels else "none"
    labels |= own
    tags = {name[4:]: value for name, value in labels.items() if name.startswith("tag-")}
    if len(tags) > MAX_TAGS:
        raise MalformedLabel(f"a call takes at most {MAX_TAGS} tags")
    return Identity(
        session=labels.get("session", ""),
        session_source=source,
        project=labels.get("project", ""),
        user=labels.get("user", ""),
        tags=tags or None,
        trace_id=trace_id,
        credential=credential,
    )


def key_id(secret: bytes, credential: bytes) -> str:
    """Keyed fingerprint of a credential: `k-` and 16 hex digits of HMAC-SHA256; empty for no credential.

    An SDK that is given an empty key sends a bare `Bearer`: that is no credential.
    """
    scheme, _, rest = credential.strip().partition(b" ")
    token = rest.strip() if scheme.lower() == b"bearer" else credential.strip()
    if not token:
        return ""
    return "k-" + hmac.digest(secret, token, "sha256")[:8].hex()


def _header_labels(headers: Headers) -> dict[str, str]:
    labels: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name[7:].decode("ascii", "replace").lower()
        if not _known(name):
            continue
        value = _clean(name, raw_value)
        if labels.setdefault(name, value) != value:
            raise MalformedLabel(f"header x-weir-{name} is given twice with different values")
    return labels


def _known(name: str) -> bool:
    return name in _NAMES or (name.startswith("tag-") and bool(_TAG_NAME.fullmatch(name[4:])))


def _clean(name: str, value: bytes) -> str:
    if not value:
        raise MalformedLabel(f"label {name!r} is empty")
    if len(value) > MAX_LABEL:
        raise MalformedLabel(f"label {name!r} is longer than {MAX_LABEL} bytes")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedLabel(f"label {name!r} is not UTF-8") from None
    if not text.isprintable():
        raise MalformedLabel(f"label {name!r} contains control or unprintable characters")
    return text


def _trace_id(traceparent: bytes) -> str:
    match = _TRACEPARENT.fullmatch(traceparent)
    return match[1].decode() if match and match[1] != b"0" * 32 else ""


def _query_key(query: bytes) -> bytes:
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name in _QUERY_KEYS and value:
            return unquote_to_bytes(value)
    return b""
