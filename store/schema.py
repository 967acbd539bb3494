"""The tables, as SQLAlchemy Core sees them, and the column types that make both databases keep the same values.

Nothing here creates a table: `migrations/` does, and a test holds the two together. Views are in the migrations only.
Names that may be empty in `store.record` (project, upstream, provider, model, …) are '' in tables and NULL in views,
because a key column cannot be NULL.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HOUR_US = 3_600_000_000

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class UtcDateTime(sa.types.TypeDecorator[int]):
    """A moment: integer microseconds since 1970 UTC in Python and SQLite, `timestamptz` in PostgreSQL.

    Not text in SQLite: ISO text takes a fifth more disk, and compared with a bound that has no fraction it loses the
    rows that stand exactly on the hour.
    """

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """`timestamptz` on PostgreSQL, INTEGER on SQLite."""
        kind = sa.DateTime(timezone=True) if dialect.name == "postgresql" else sa.Integer()
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: int | None, dialect: sa.Dialect) -> Any:
        """Microseconds → what the driver takes."""
        return value if value is None or dialect.name != "postgresql" else moment(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> int | None:
        """What the driver gives → microseconds."""
        return (value - EPOCH) // MICROSECOND if isinstance(value, datetime) else value


class CallId(sa.types.TypeDecorator[str]):
    """A UUID in its 36-character form: `uuid` on PostgreSQL, readable text on SQLite."""

    impl = sa.CHAR(36)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """`uuid` on PostgreSQL, CHAR(36) on SQLite."""
        kind = postgresql.UUID(as_uuid=False) if dialect.name == "postgresql" else sa.CHAR(36)
        return dialect.type_descriptor(kind)


Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
Integer = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def moment(microseconds: int) -> datetime:
    """The UTC datetime of integer microseconds since 1970."""
    return EPOCH + timedelta(microseconds=microseconds)


def _text(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, **options)


def _maybe(*names: str, kind: Any = sa.Text) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind) for name in names]


def _sums(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, Integer, nullable=False) for name in names]


# One column per name of store.record.COLUMNS, in that order. The unique key contains the session so that a
# distributed PostgreSQL can shard by it; call_id alone is indexed, and unique by how it is made.
calls = sa.Table(
    "calls",
    metadata,
    sa.Column("call_id", CallId, nullable=False),
    _text("boot_id"),
    sa.Column("seq", Integer, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    _text("method"),
    _text("path"),
    _text("upstream"),
    _text("provider"),
    _text("operation"),
    _text("wire_format"),
    _text("session_id"),
    _text("session_source"),
    _text("project"),
    _text("user_id"),
    _text("key_id"),
    sa.Column("tags", Json),
    _text("trace_id"),
    _text("outcome"),
    sa.Column("http_status", sa.SmallInteger),
    *_maybe("error_type", "request_model", "response_model"),
    sa.Column("stream", sa.Boolean),
    sa.Column("finish_reason", sa.Text),
    sa.Column("max_tokens", Integer),
    *_maybe("service_tier", "response_id", "upstream_request_id"),
    *_maybe("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", kind=Integer),
    *_maybe("reasoning_tokens", "total_tokens", kind=Integer),
    _text("usage_source"),
    *_maybe("usage_rules", "estimator"),
    sa.Column("raw_usage", Json),
    sa.Column("reported_cost_nusd", Integer),
    sa.Column("credits_remaining", sa.Double),
    *_maybe("duration_us", "first_chunk_us", "ttft_us", "inter_token_us", "overhead_us", kind=Integer),
    *_maybe("chunks", "content_events", "request_bytes", "response_bytes", kind=Integer),
    sa.Column("meter_fault", sa.Text),
    sa.Column("cost_nusd", Integer),
    _text("cost_source"),
    sa.Column("price_id", sa.Text),
    _text("model"),
    sa.PrimaryKeyConstraint("session_id", "started_at", "call_id"),
    postgresql_partition_by="RANGE (started_at)",
)
sa.Index(None, calls.c.started_at)
sa.Index(None, calls.c.call_id)
sa.Index(
    "ix_calls_failed",
    calls.c.started_at,
    postgresql_where=calls.c.outcome != "ok",
    sqlite_where=calls.c.outcome != "ok",
)

SUMS = (
    "calls",
    "errors",
    "unpriced",
    "unmeasured",
    "estimated",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_nusd",
    "duration_us",
)
"""What rollups add up. Sums of the *known* values; the counts beside them say how many calls were not known."""

# Only calls that something assigned to a session: one row per unassigned call would be a second `calls`.
sessions = sa.Table(
    "sessions",
    metadata,
    _text("session_id"),
    _text("project"),
    sa.Column("first_call_at", UtcDateTime, nullable=False),
    sa.Column("last_call_at", UtcDateTime, nullable=False),
    *_sums(*SUMS),
    sa.PrimaryKeyConstraint("session_id", "project"),
    sqlite_with_rowid=False,
)
sa.Index(None, sessions.c.last_call_at)

USAGE_KEY = ("hour", "project", "upstream", "provider", "model")
usage_hourly = sa.Table(
    "usage_hourly",
    metadata,
    sa.Column("hour", UtcDateTime, nullable=False),
    *(_text(name) for name in USAGE_KEY[1:]),
    *_sums(*SUMS),
    sa.PrimaryKeyConstraint(*USAGE_KEY),
    sqlite_with_rowid=False,
)

LATENCY_KEY = ("hour", "provider", "model", "metric", "bucket")
latency_hourly = sa.Table(
    "latency_hourly",
    metadata,
    sa.Column("hour", UtcDateTime, nullable=False),
    _text("provider"),
    _text("model"),
    _text("metric"),
    sa.Column("bucket", sa.Integer, nullable=False),
    sa.Column("n", Integer, nullable=False),
    sa.PrimaryKeyConstraint(*LATENCY_KEY),
    sqlite_with_rowid=False,
)

# A boot has a row here as long as its journal is being read: a hole in its seq may then still be a call in flight.
journal_positions = sa.Table(
    "journal_positions",
    metadata,
    _text("boot_id", primary_key=True),
    sa.Column("segment", Integer, nullable=False),
    sa.Column("offset", Integer, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

gaps = sa.Table(
    "gaps",
    metadata,
    _text("boot_id"),
    sa.Column("seq_from", Integer, nullable=False),
    sa.Column("seq_to", Integer, nullable=False),
    _text("reason"),
    sa.Column("noted_at", UtcDateTime, nullable=False),
    sa.PrimaryKeyConstraint("boot_id", "seq_from", "seq_to"),
)

# Facts about the ledger itself; so far 'kept_from': calls before it have been pruned, their sums stay.
marks = sa.Table(
    "marks",
    metadata,
    _text("name", primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
)
