"""The tables: calls, the sums kept beside them, and the journals' positions and gaps."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.Integer().with_variant(sa.DateTime(timezone=True), "postgresql")
CALL_ID = sa.CHAR(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def _text(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _maybe(kind: Any, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=True) for name in names]


def _known(kind: Any, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def _sums() -> list[sa.Column[Any]]:
    return [
        *_known(BIG, "calls", "errors", "unpriced", "unmeasured", "estimated", "input_tokens", "output_tokens"),
        *_known(BIG, "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost_nusd", "duration_us"),
    ]


def upgrade() -> None:
    _create_calls()
    _create_rollups()
    _create_upkeep()


def _create_calls() -> None:
    op.create_table(
        "calls",
        *_known(CALL_ID, "call_id"),
        *_text("boot_id"),
        *_known(BIG, "seq"),
        *_known(MOMENT, "started_at"),
        *_text("method", "path", "upstream", "provider", "operation", "wire_format"),
        *_text("session_id", "session_source", "project", "user_id", "key_id"),
        *_maybe(JSON, "tags"),
        *_text("trace_id", "outcome"),
        *_maybe(sa.SmallInteger(), "http_status"),
        *_maybe(sa.Text(), "error_type", "request_model", "response_model"),
        *_maybe(sa.Boolean(), "stream"),
        *_maybe(sa.Text(), "finish_reason"),
        *_maybe(BIG, "max_tokens"),
        *_maybe(sa.Text(), "service_tier", "response_id", "upstream_request_id"),
        *_maybe(BIG, "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
        *_maybe(BIG, "reasoning_tokens", "total_tokens"),
        *_text("usage_source"),
        *_maybe(sa.Text(), "usage_rules", "estimator"),
        *_maybe(JSON, "raw_usage"),
        *_maybe(BIG, "reported_cost_nusd"),
        *_maybe(sa.Double(), "credits_remaining"),
        *_maybe(BIG, "duration_us", "first_chunk_us", "ttft_us", "inter_token_us", "overhead_us"),
        *_maybe(BIG, "chunks", "content_events", "request_bytes", "response_bytes"),
        *_maybe(sa.Text(), "meter_fault"),
        *_maybe(BIG, "cost_nusd"),
        *_text("cost_source"),
        *_maybe(sa.Text(), "price_id"),
        *_text("model"),
        sa.PrimaryKeyConstraint("session_id", "started_at", "call_id", name="pk_calls"),
        postgresql_partition_by="RANGE (started_at)",
    )
    op.create_index("ix_calls_started_at", "calls", ["started_at"])
    op.create_index("ix_calls_call_id", "calls", ["call_id"])
    failed = sa.text("outcome <> 'ok'")
    op.create_index("ix_calls_failed", "calls", ["started_at"], postgresql_where=failed, sqlite_where=failed)
    if op.get_bind().dialect.name == "postgresql":
        # Months are attached ahead by store.partitions; what fits none of them must still have a place.
        op.execute("CREATE TABLE calls_default PARTITION OF calls DEFAULT")


def _create_rollups() -> None:
    op.create_table(
        "sessions",
        *_text("session_id", "project"),
        *_known(MOMENT, "first_call_at", "last_call_at"),
        *_sums(),
        sa.PrimaryKeyConstraint("session_id", "project", name="pk_sessions"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_sessions_last_call_at", "sessions", ["last_call_at"])
    op.create_table(
        "usage_hourly",
        *_known(MOMENT, "hour"),
        *_text("project", "upstream", "provider", "model"),
        *_sums(),
        sa.PrimaryKeyConstraint("hour", "project", "upstream", "provider", "model", name="pk_usage_hourly"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "latency_hourly",
        *_known(MOMENT, "hour"),
        *_text("provider", "model", "metric"),
        *_known(sa.Integer(), "bucket"),
        *_known(BIG, "n"),
        sa.PrimaryKeyConstraint("hour", "provider", "model", "metric", "bucket", name="pk_latency_hourly"),
        sqlite_with_rowid=False,
    )


def _create_upkeep() -> None:
    op.create_table(
        "journal_positions",
        *_text("boot_id"),
        *_known(BIG, "segment", "offset"),
        *_known(MOMENT, "updated_at"),
        sa.PrimaryKeyConstraint("boot_id", name="pk_journal_positions"),
    )
    op.create_table(
        "gaps",
        *_text("boot_id"),
        *_known(BIG, "seq_from", "seq_to"),
        *_text("reason"),
        *_known(MOMENT, "noted_at"),
        sa.PrimaryKeyConstraint("boot_id", "seq_from", "seq_to", name="pk_gaps"),
    )
    op.create_table(
        "marks",
        *_text("name"),
        *_known(MOMENT, "at"),
        sa.PrimaryKeyConstraint("name", name="pk_marks"),
    )


def downgrade() -> None:
    for table in ("marks", "gaps", "journal_positions", "latency_hourly", "usage_hourly", "sessions", "calls"):
        op.drop_table(table)
