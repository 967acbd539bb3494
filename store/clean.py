"""Makes records fit for both databases: what goes in is what both can hold, byte for byte the same.

PostgreSQL refuses NUL and lone surrogates in text, years beyond its calendar and NaN in JSON; SQLite takes some of
them and bends others. So all of it is settled here, before either sees a row. No database in here, and no record is
changed: rows are made beside them.

A batch is cleaned column by column: most values repeat, so each is looked at once (4 µs a record in batches of 1,000).
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import orjson
import sqlalchemy as sa

from store.record import CALL_FIELDS, COLUMNS, COST_FIELDS, READING_FIELDS, CallRecord, CostSource
from store.schema import CallId, UtcDateTime, calls

Row = tuple[Any, ...]
"""Values in the order of `COLUMNS`; JSON columns as text."""
Fit = Callable[[Sequence[Any]], Sequence[Any]]

LIMITS = {"path": 512, "session_id": 256, "user_id": 256, "project": 128, "upstream": 64, "provider": 64}
"""Characters kept of a text column. Key columns stay far below PostgreSQL's 2,704 bytes for an index entry."""
LIMIT = 200
"""Characters kept of every other text column."""
JSON_LIMIT = 16 << 10
INT64 = (1 << 63) - 1
MOST = {
    "http_status": 999,
    "cost_nusd": 10**13,
    "reported_cost_nusd": 10**13,
    "duration_us": 10**13,
    **dict.fromkeys(
        (name for name in COLUMNS if name.endswith("_tokens")),
        10**10,
    ),
}
"""Largest believable value (10,000 dollars, 115 days, ten billion tokens); beyond it the number is not known.

Nobody's call is that large, and a hostile answer that says so must not make the sums overflow 64 bits.
"""
_COST, _COST_SOURCE = COLUMNS.index("cost_nusd"), COLUMNS.index("cost_source")
LAST_MOMENT = 253_402_300_799_999_999
"""The end of year 9999 in microseconds."""

_call_values = attrgetter(*CALL_FIELDS)
_reading_values = attrgetter(*READING_FIELDS)
_cost_values = attrgetter(*COST_FIELDS)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PLAIN = frozenset({str, type(None)})
_UNSAFE = re.compile("[\x00\ud800-\udfff]")


def rows_of(records: Sequence[CallRecord]) -> list[Row]:
    """One clean row per record, in order; an empty one where it cannot be a row: id, number or time is not one."""
    if not records:
        return []
    raw = [
        (*_call_values(record.call), *_reading_values(record.reading), *_cost_values(record.cost), record.model)
        for record in records
    ]
    given = list(zip(*raw, strict=True))
    columns = [fit(column) for fit, column in zip(FITS, given, strict=True)]
    if columns[_COST] is not given[_COST]:
        # A cost beyond belief has become unknown: then it has no source either.
        pairs = zip(columns[_COST], columns[_COST_SOURCE], strict=True)
        columns[_COST_SOURCE] = [source if cost is not None else CostSource.NONE.value for cost, source in pairs]
    return [() if None in (row[0], row[2], row[3]) else row for row in zip(*columns, strict=True)]


def clean_text(text: str, limit: int) -> str:
    """`text` with U+FFFD for what cannot be stored, cut to `limit` characters."""
    return _UNSAFE.sub("�", text[:limit])


def clean_json(value: Any) -> str | None:
    """JSON text that both databases take, or None when there is none within 16 KiB.

    JSONB keeps numbers as decimals: a float of 1e16 or more, which no usage object has, comes back as an integer.
    """
    try:
        text = orjson.dumps(value)
    except (TypeError, ValueError):
        text = b"\\u0000"
    if b"\\u0000" in text:
        try:
            text = orjson.dumps(_plain(value, 0))
        except (TypeError, ValueError):
            return None
    return text.decode() if len(text) <= JSON_LIMIT else None


def _plain(value: Any, depth: int) -> Any:
    """`value` with clean texts, numbers that fit, and no more than 32 levels."""
    if depth > 32:
        return None
    if isinstance(value, dict):
        return {clean_text(str(key), LIMIT): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, str):
        return clean_text(value, JSON_LIMIT)
    if isinstance(value, int) and not -INT64 <= value <= INT64:
        return None
    return value


def _texts(limit: int, empty: str | None) -> Fit:
    """Text columns. `empty` stands for None: '' where the column must not be NULL."""

    def fits(value: str) -> bool:
        # isprintable is False for surrogates; what it wrongly suspects, such as a line break, is cleaned to itself.
        return len(value) <= limit and (value.isascii() or value.isprintable()) and "\0" not in value

    def fit(column: Sequence[Any]) -> Sequence[Any]:
        if not _PLAIN.issuperset(map(type, column)):
            column = [value if value is None else str(value) for value in column]
        odd: dict[str | None, str] = {
            value: clean_text(value, limit) for value in set(column) if value is not None and not fits(value)
        }
        if None in column and empty is not None:
            odd[None] = empty
        return [odd.get(value, value) for value in column] if odd else column

    return fit


def _numbers(least: int, most: int) -> Fit:
    def fit(column: Sequence[Any]) -> Sequence[Any]:
        known = [value for value in column if value is not None]
        if not known or (set(map(type, known)) == {int} and least <= min(known) and max(known) <= most):
            return column
        return [_whole(value, least, most) for value in column]

    return fit


def _whole(value: Any, least: int, most: int) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return int(value) if isinstance(value, int) and least <= value <= most else None


def _call_ids(column: Sequence[Any]) -> Sequence[Any]:
    match = _UUID.fullmatch
    return [value if type(value) is str and match(value) else _call_id(value) for value in column]


def _call_id(value: Any) -> str | None:
    try:
        return str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError):
        return None


def _documents(column: Sequence[Any]) -> Sequence[Any]:
    return [None if value is None else clean_json(value) for value in column]


def _flags(column: Sequence[Any]) -> Sequence[Any]:
    return [None if value is None else bool(value) for value in column]


def _reals(column: Sequence[Any]) -> Sequence[Any]:
    return [float(value) if isinstance(value, int | float) and math.isfinite(value) else None for value in column]


def _fit(column: sa.Column[Any]) -> Fit:
    name, kind = column.name, column.type
    if isinstance(kind, CallId):
        return _call_ids
    if isinstance(kind, UtcDateTime):
        return _numbers(0, LAST_MOMENT)
    if isinstance(kind, sa.Text):
        return _texts(LIMITS.get(name, LIMIT), None if column.nullable else "")
    if isinstance(kind, sa.Boolean):
        return _flags
    if isinstance(kind, sa.Double):
        return _reals
    if isinstance(kind, sa.JSON):
        return _documents
    return _numbers(-MOST.get(name, INT64), MOST.get(name, INT64))


FITS: tuple[Fit, ...] = tuple(_fit(calls.c[name]) for name in COLUMNS)
