"""The questions people ask, answered as typed rows; command line, pages and JSON API all print what these return.

Each question takes a connection (`store.engine.read_only` gives one) and says the same on both databases. Nothing in
here writes, formats or prints.
"""

from __future__ import annotations

from store.query.calls import Tail, call, calls, records
from store.query.failures import errors
from store.query.latency import latency
from store.query.rows import (
    CallRow,
    Counts,
    Cursor,
    ErrorRow,
    LatencyRow,
    SessionDetail,
    SessionRow,
    Span,
    UnpricedRow,
    UsageRow,
    as_dict,
)
from store.query.sessions import session, sessions
from store.query.usage import GROUPS, counts, totals, unpriced_models, usage

__all__ = [
    "GROUPS",
    "CallRow",
    "Counts",
    "Cursor",
    "ErrorRow",
    "LatencyRow",
    "SessionDetail",
    "SessionRow",
    "Span",
    "Tail",
    "UnpricedRow",
    "UsageRow",
    "as_dict",
    "call",
    "calls",
    "counts",
    "errors",
    "latency",
    "records",
    "session",
    "sessions",
    "totals",
    "unpriced_models",
    "usage",
]
