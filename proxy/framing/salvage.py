"""What can still be read of JSON that was too long to keep whole: its names from the head, its usage from the tail.

Usage comes last in most answers (an embeddings body of 40 MB ends with 60 bytes of it), so 256 KiB of tail are enough.
"""

from __future__ import annotations

import re
from json import JSONDecoder
from typing import Any

import orjson

HEAD_BYTES = 64 << 10
TAIL_BYTES = 256 << 10
"""Head and tail of an oversized frame: names stand in the first lines, usage behind the last content."""

_NAMES = re.compile(rb'"(model|modelVersion|id|responseId)"\s*:\s*"([^"\\]{1,256})"')
_USAGE = re.compile(rb'"(usage|usageMetadata|timings)"\s*:\s*(?=\{)')
_USAGE_BYTES = 32 << 10
_decoder = JSONDecoder()


def salvage(head: bytes, tail: bytes) -> bytes:
    """One small JSON object of what was found: first names, last balanced usage object. `{}` when nothing was."""
    found: dict[str, Any] = {}
    for match in _NAMES.finditer(head):
        found.setdefault(match[1].decode(), match[2].decode("utf-8", "replace"))
    found.update(_usage_in(tail) or _usage_in(head))
    return orjson.dumps(found)


def _usage_in(data: bytes) -> dict[str, Any]:
    for match in reversed(list(_USAGE.finditer(data))):
        usage = _object_at(data, match.end())
        if usage is not None:
            return {match[1].decode(): usage}
    return {}


def _object_at(data: bytes, start: int) -> dict[str, Any] | None:
    text = data[start : start + _USAGE_BYTES].decode("utf-8", "replace")
    try:
        value, _ = _decoder.raw_decode(text)
        orjson.dumps(value)  # a 5,000-digit number decodes but cannot be written
    except (ValueError, RecursionError, TypeError):
        return None
    return value if isinstance(value, dict) else None


class Trimmed:
    """Head and tail of a run of bytes too long to keep: the same two for any cutting."""

    __slots__ = ("_head", "_tail")

    def __init__(self, data: bytes) -> None:
        self._head = data[:HEAD_BYTES]
        self._tail = bytearray(data[-TAIL_BYTES:])

    def add(self, data: bytes) -> None:
        """Go on with the next bytes; the tail is trimmed at twice its length, so that this stays linear."""
        self._tail += data
        if len(self._tail) > 2 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]

    def salvage(self) -> bytes:
        """What can be read of it."""
        return salvage(self._head, bytes(self._tail[-TAIL_BYTES:]))
