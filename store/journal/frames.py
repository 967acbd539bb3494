"""Frames: how a journal's bytes are laid out, made from records and turned back into them. No files here.

A frame is `magic u16 · kind u8 · version u8 · length u32 · crc32 u32 · payload`, little-endian, the checksum over kind,
version, length and payload. Payloads are JSON: values by position, named by the segment's SCHEMA frame (305 bytes and
1.5 µs a frame where an object with names takes 1,006 bytes and 7.7 µs).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from enum import IntEnum
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from store.record import CALL_FIELDS, READING_FIELDS, Call, Reading

MAGIC = 0x5E37
VERSION = 1
HEADER = struct.Struct("<HBBII")
MAX_PAYLOAD = 64 << 10
"""Bound of one frame. A record is at most some 20 KiB: 16 KiB of raw usage and short texts."""
MAX_DEPTH = 32
"""Nesting that is kept of a value that JSON refuses; usage objects are three deep."""

_call_values = attrgetter(*CALL_FIELDS)
_reading_values = attrgetter(*READING_FIELDS)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Kind(IntEnum):
    """What a frame says."""

    SCHEMA = 0
    INTENT = 1
    OUTCOME = 2
    PROGRESS = 3
    GAP = 4


KINDS = tuple(Kind)


class Position(NamedTuple):
    """A place between two frames of one boot: segment number and byte offset in it."""

    segment: int
    offset: int


class Gap(NamedTuple):
    """Calls whose records are lost, with the reason that is counted."""

    seq_from: int
    seq_to: int
    reason: str


class Entry(NamedTuple):
    """One frame as read."""

    kind: Kind
    call: Call | None
    reading: Reading | None
    gap: Gap | None
    position: Position
    """Right after this frame."""


def encode(kind: Kind, payload: bytes) -> bytes:
    """One frame as it stands on disk."""
    size = len(payload)
    return HEADER.pack(MAGIC, kind, VERSION, size, zlib.crc32(payload, kind << 28 | VERSION << 20 | size)) + payload


def schema_frame() -> bytes:
    """What every segment opens with: the names of the values in the frames behind."""
    return encode(Kind.SCHEMA, orjson.dumps((CALL_FIELDS, READING_FIELDS)))


def intent_frame(call: Call) -> bytes | None:
    """The INTENT of a call; None when it is too large even without its tags."""
    payload = _dumps(_call_values(call))
    if len(payload) > MAX_PAYLOAD:
        payload = _dumps(_call_values(replace(call, tags=None)))
    return encode(Kind.INTENT, payload) if len(payload) <= MAX_PAYLOAD else None


def reading_frame(kind: Kind, call: Call, reading: Reading) -> bytes | None:
    """An OUTCOME or PROGRESS; None when it is too large even without raw usage and tags."""
    payload = _dumps((_call_values(call), _reading_values(reading)))
    if len(payload) > MAX_PAYLOAD:
        bare = (_call_values(replace(call, tags=None)), _reading_values(replace(reading, raw_usage=None)))
        payload = _dumps(bare)
    return encode(kind, payload) if len(payload) <= MAX_PAYLOAD else None


def gap_frame(gap: Gap) -> bytes:
    """A GAP."""
    return encode(Kind.GAP, orjson.dumps(tuple(gap)))


class Decoder:
    """Turns payloads back into records, by the field names of the segment that they stand in."""

    def __init__(self) -> None:
        self._call_names: tuple[str, ...] = CALL_FIELDS
        self._reading_names: tuple[str, ...] = READING_FIELDS

    def entry(self, kind: Kind, payload: memoryview, position: Position) -> Entry | None:
        """The frame's meaning, None for a SCHEMA. Raises ValueError, TypeError or LookupError when it has none."""
        values = orjson.loads(payload)
        if kind is Kind.SCHEMA:
            self._call_names, self._reading_names = tuple(values[0]), tuple(values[1])
            return None
        if kind is Kind.GAP:
            return Entry(kind, None, None, Gap(*values), position)
        if kind is Kind.INTENT:
            return Entry(kind, _build(Call, self._call_names, values), None, None, position)
        call, reading = values
        return Entry(
            kind,
            _build(Call, self._call_names, call),
            _build(Reading, self._reading_names, reading),
            None,
            position,
        )


def split(block: bytes, final: bool) -> Iterator[tuple[Kind | None, int, int, int]]:
    """Splits a block into frames: (kind, payload start, payload end, offset behind). Kind None: a damaged run.

    `final` says that the block ends where its segment ends for good, so that a torn tail is damage, not a wait.
    """
    at, size = 0, len(block)
    while at < size:
        end = _frame_end(block, at)
        if end > 0:
            yield KINDS[block[at + 2]], at + HEADER.size, end, end
            at = end
        elif end == 0 and not final:
            return
        else:
            at = _resync(block, at + 1, final)
            yield None, 0, 0, at


def _frame_end(block: bytes, at: int) -> int:
    """Where the frame at `at` ends; 0 when it may go on behind the block; -1 when there is no frame."""
    if len(block) - at < HEADER.size:
        return 0
    magic, kind, version, length, crc = HEADER.unpack_from(block, at)
    if magic != MAGIC or version != VERSION or length > MAX_PAYLOAD or kind > Kind.GAP:
        return -1
    end: int = at + HEADER.size + length
    if end > len(block):
        return 0
    body = memoryview(block)[at + HEADER.size : end]
    return end if zlib.crc32(body, kind << 28 | version << 20 | length) == crc else -1


def _resync(block: bytes, at: int, final: bool) -> int:
    """The next place where a frame starts, or could start behind the block's end."""
    magic = MAGIC.to_bytes(2, "little")
    while (at := block.find(magic, at)) >= 0:
        end = _frame_end(block, at)
        if end > 0 or (end == 0 and not final):
            return at
        at += 1
    return len(block) if final else max(len(block) - 1, 1)


def _build(kind: type[Any], names: tuple[str, ...], values: list[Any]) -> Any:
    """A Call or Reading from a frame of this or another version: unknown names are dropped, missing ones default."""
    known = CALL_FIELDS if kind is Call else READING_FIELDS
    if names == known:
        return kind(*values)
    pairs = zip(names, values, strict=True)
    return kind(**{name: value for name, value in pairs if name in known})


def _dumps(values: tuple[Any, ...]) -> bytes:
    """JSON of any values: what orjson refuses (lone surrogates, huge integers) must not cost the record."""
    try:
        return orjson.dumps(values)
    except TypeError:
        return orjson.dumps(_cleaned(values, MAX_DEPTH))


def _cleaned(value: Any, depth: int) -> Any:
    """The value as JSON can hold it; what it cannot hold becomes None, which means unknown."""
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, int):
        return value if value.bit_length() < 64 else None
    if isinstance(value, dict) and depth:
        return {str(_cleaned(str(key), 0)): _cleaned(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth:
        return [_cleaned(item, depth - 1) for item in value]
    return value if isinstance(value, float) else None
