"""The views for people: the same names, columns and answers on SQLite and PostgreSQL.

Money is dollars, time is milliseconds, an empty name is NULL. Moments are `timestamptz` on PostgreSQL and ISO 8601
text in UTC on SQLite, which has no type for them; hours and days are UTC on both.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CALL_LOG = """
SELECT call_id, {started_at} AS started_at,
    {session} AS session_id, session_source,
    nullif(project, '') AS project, nullif(user_id, '') AS user_id, nullif(key_id, '') AS key_id,
    nullif(upstream, '') AS upstream, nullif(provider, '') AS provider, nullif(operation, '') AS operation,
    wire_format, request_model, response_model, nullif(model, '') AS model, stream, outcome, http_status, error_type,
    finish_reason, duration_us / {thousand} AS duration_ms, first_chunk_us / {thousand} AS first_chunk_ms,
    ttft_us / {thousand} AS ttft_ms, inter_token_us / {thousand} AS inter_token_ms,
    output_tokens * {million} / nullif(duration_us, 0) AS tokens_per_second, overhead_us / {thousand} AS overhead_ms,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, total_tokens, usage_source,
    cost_nusd / {billion} AS cost_usd, cost_source, chunks, request_bytes, response_bytes, upstream_request_id,
    nullif(trace_id, '') AS trace_id, meter_fault
FROM calls
"""

SESSION_SUMMARY = """
SELECT session_id, nullif(project, '') AS project, {first_call_at} AS first_call_at, {last_call_at} AS last_call_at,
    calls, errors, unpriced, unmeasured, estimated, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, cost_nusd / {billion} AS cost_usd, duration_us / {thousand} AS duration_ms
FROM sessions
"""

HOURLY_USAGE = """
SELECT {hour} AS hour, nullif(project, '') AS project, nullif(upstream, '') AS upstream,
    nullif(provider, '') AS provider, nullif(model, '') AS model, calls, errors, unpriced, unmeasured, estimated,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
    cost_nusd / {billion} AS cost_usd, duration_us / {thousand} AS duration_ms
FROM usage_hourly
"""

DAILY_USAGE = """
SELECT day, nullif(project, '') AS project, nullif(upstream, '') AS upstream,
    nullif(provider, '') AS provider, nullif(model, '') AS model,
    {sum_calls} AS calls, {sum_errors} AS errors, {sum_unpriced} AS unpriced, {sum_unmeasured} AS unmeasured,
    {sum_estimated} AS estimated, {sum_input_tokens} AS input_tokens, {sum_output_tokens} AS output_tokens,
    {sum_cache_read_tokens} AS cache_read_tokens, {sum_cache_write_tokens} AS cache_write_tokens,
    {sum_reasoning_tokens} AS reasoning_tokens, {sum_cost_nusd} / {billion} AS cost_usd,
    {sum_duration_us} / {thousand} AS duration_ms
FROM (SELECT {day} AS day, usage_hourly.* FROM usage_hourly) AS hours
GROUP BY day, project, upstream, provider, model
"""

# A bucket b holds [2^(b/4), 2^((b+1)/4)) microseconds; it is read at its middle, 2^((b+0.5)/4), at most 9 % off.
# Written with shifts and four constants: power() is missing from some builds of SQLite and rounds differently.
MODEL_LATENCY = """
WITH summed AS (
    SELECT provider, model, metric, bucket, {sum_n} AS n FROM latency_hourly GROUP BY provider, model, metric, bucket
), counted AS (
    SELECT provider, model, metric, n,
        sum(n) OVER (PARTITION BY provider, model, metric ORDER BY bucket) AS up_to,
        sum(n) OVER (PARTITION BY provider, model, metric) AS total,
        (1 << (bucket / 4)) * CASE bucket % 4 WHEN 0 THEN {m0} WHEN 1 THEN {m1} WHEN 2 THEN {m2} ELSE {m3} END
            / {thousand} AS ms
    FROM summed
)
SELECT nullif(provider, '') AS provider, nullif(model, '') AS model, metric, {sum_n} AS calls,
    min(CASE WHEN up_to * 100 >= total * 50 THEN ms END) AS p50_ms,
    min(CASE WHEN up_to * 100 >= total * 95 THEN ms END) AS p95_ms,
    min(CASE WHEN up_to * 100 >= total * 99 THEN ms END) AS p99_ms
FROM counted GROUP BY provider, model, metric
"""

ERROR_LOG = """
SELECT {started_at} AS started_at, call_id, {session} AS session_id, nullif(project, '') AS project,
    nullif(user_id, '') AS user_id, nullif(upstream, '') AS upstream,
    nullif(provider, '') AS provider, nullif(model, '') AS model, outcome, http_status, error_type,
    duration_us / {thousand} AS duration_ms, upstream_request_id, meter_fault
FROM calls WHERE outcome <> 'ok' AND outcome <> 'client_closed'
"""

UNPRICED_MODELS = """
SELECT nullif(upstream, '') AS upstream, nullif(provider, '') AS provider, nullif(model, '') AS model,
    {sum_unpriced} AS unpriced, {sum_calls} AS calls, {first_hour} AS first_hour, {last_hour} AS last_hour
FROM usage_hourly WHERE unpriced > 0 GROUP BY upstream, provider, model
"""

VIEWS = {
    "call_log": CALL_LOG,
    "session_summary": SESSION_SUMMARY,
    "hourly_usage": HOURLY_USAGE,
    "daily_usage": DAILY_USAGE,
    "model_latency": MODEL_LATENCY,
    "error_log": ERROR_LOG,
    "unpriced_models": UNPRICED_MODELS,
}

SESSION = "CASE WHEN session_source = 'none' THEN NULL ELSE session_id END"
SUMMED = (
    *("calls", "errors", "unpriced", "unmeasured", "estimated", "input_tokens", "output_tokens", "cache_read_tokens"),
    *("cache_write_tokens", "reasoning_tokens", "cost_nusd", "duration_us", "n"),
)
MIDDLES = ("1.0905077326652577", "1.2968395546510096", "1.5422108254079407", "1.8340080864093424")


def _iso(moment: str) -> str:
    seconds = f"strftime('%Y-%m-%dT%H:%M:%S', {moment} / 1000000, 'unixepoch')"
    return f"{seconds} || printf('.%06dZ', {moment} % 1000000)"


def _sqlite() -> dict[str, str]:
    words = {name: _iso(name) for name in ("started_at", "first_call_at", "last_call_at", "hour")}
    words |= {f"sum_{name}": f"sum({name})" for name in SUMMED}
    words |= {f"m{at}": middle for at, middle in enumerate(MIDDLES)}
    words |= {"thousand": "1e3", "million": "1e6", "billion": "1e9", "session": SESSION}
    words |= {"day": "strftime('%Y-%m-%d', hour / 1000000, 'unixepoch')"}
    return words | {"first_hour": _iso("min(hour)"), "last_hour": _iso("max(hour)")}


def _postgresql() -> dict[str, str]:
    words = {name: name for name in ("started_at", "first_call_at", "last_call_at", "hour")}
    # sum(bigint) is numeric; the cast keeps it an integer for those who read it.
    words |= {f"sum_{name}": f"sum({name})::bigint" for name in SUMMED}
    words |= {f"m{at}": f"{middle}::float8" for at, middle in enumerate(MIDDLES)}
    words |= {"thousand": "1e3::float8", "million": "1e6::float8", "billion": "1e9::float8", "session": SESSION}
    words |= {"day": "(hour AT TIME ZONE 'UTC')::date"}
    return words | {"first_hour": "min(hour)", "last_hour": "max(hour)"}


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    words = _postgresql() if postgresql else _sqlite()
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query.format_map(words)}")
    # What people ask views for most, the last calls and one session, must not read every call: an index on the very
    # expression of the view. On PostgreSQL started_at is the plain column, which has its index.
    op.execute(f"CREATE INDEX ix_calls_view_session ON calls (({SESSION}))")
    if not postgresql:
        op.execute(f"CREATE INDEX ix_calls_view_started_at ON calls ({words['started_at']})")


def downgrade() -> None:
    op.execute("DROP INDEX ix_calls_view_session")
    if op.get_bind().dialect.name != "postgresql":
        op.execute("DROP INDEX ix_calls_view_started_at")
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
