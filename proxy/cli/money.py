"""`weir usage`, `weir latency`, `weir top`: what groups of calls used, how fast they were, who spends now."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.faults import WRONG_USE, Fault
from proxy.cli.options import AsCsv, AsJson, Config, Limit, Since, Store, Until, Zone, names_in, question
from proxy.cli.printing import Form, Row

if TYPE_CHECKING:
    from proxy.cli.options import Question

SUMS = ("calls", "errors", "unpriced", "unmeasured", "estimated")
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
COLUMNS = (*SUMS, *TOKENS, "cost_usd", "duration_ms")
"""Columns of `weir usage` behind those that it groups by."""
SHOWN = ("calls", "errors", "input_tokens", "output_tokens", "cost_usd")
METRICS = ("duration", "ttft", "first_chunk", "inter_token", "overhead")

By = Annotated[
    str, typer.Option(metavar="NAMES", help="day, hour, project, upstream, provider, model, session, user, key.")
]


def usage(
    *,
    since: Since = "7d",
    until: Until = None,
    by: By = "model",
    tz: Zone = None,
    limit: Limit = 1000,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    config: Config = None,
    store: Store = None,
) -> None:
    """Sum calls, tokens and cost over groups.

    \b
      weir usage                                        the last seven days, by model
      weir usage --since yesterday --until yesterday --by project,model
      weir usage --since 30d --by day --tz Europe/Berlin
      weir usage --by user --json
    """
    asked = question(config, store, since=since, until=until, tz=tz, as_json=as_json, as_csv=as_csv)
    rows, groups = _usage(asked, names_in(by))
    if len(rows) > limit:
        print(f"the first {limit} of {len(rows)} groups", file=sys.stderr)
    shown = rows[:limit] if asked.form is not Form.TABLE or len(rows) < 2 else [*rows[:limit], _total(rows, groups)]
    asked.write(shown, [*groups, *COLUMNS], shown=[*groups, *SHOWN], empty="no calls in that time")
    _warn(rows)


def _usage(asked: Question, by: Sequence[str]) -> tuple[list[Row], list[str]]:
    from store.query import GROUPS, as_dict, usage

    with asked.ask() as connection:
        found = usage(connection, asked.span, by=by, tz=asked.zone.key)
    return [as_dict(row) for row in found], list(dict.fromkeys(GROUPS[name] for name in by))


def _total(rows: Sequence[Row], groups: Sequence[str]) -> Row:
    total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in COLUMNS}
    return {**total, groups[0]: "total"} if groups else total


def _warn(rows: Sequence[Row]) -> None:
    """Says on standard error when sums are lower bounds, in every form."""
    unpriced, unmeasured = (sum(row[name] for row in rows) for name in ("unpriced", "unmeasured"))
    if unpriced:
        print(f"{unpriced:,} calls have no known price, so costs are higher: `weir prices missing`", file=sys.stderr)
    if unmeasured:
        print(f"{unmeasured:,} answered calls have no known tokens, so tokens and costs are higher", file=sys.stderr)


def latency(
    *,
    since: Since = "7d",
    until: Until = None,
    by: Annotated[str, typer.Option(metavar="NAMES", help="model, provider or both.")] = "model",
    metric: Annotated[str | None, typer.Option(metavar="NAME", help=f"One of {', '.join(METRICS)}.")] = None,
    tz: Zone = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    config: Config = None,
    store: Store = None,
) -> None:
    """Show p50, p95 and p99 of latencies.

    Of duration, time to first token and the rest, over calls that went well. Percentiles come from buckets that are
    19 % wide, so they are at most 9 % off.

    \b
      weir latency --since 24h
      weir latency --metric ttft --by provider,model
    """
    asked = question(config, store, since=since, until=until, tz=tz, as_json=as_json, as_csv=as_csv)
    if metric is not None and metric not in METRICS:
        raise Fault(f"no metric is called {metric!r}", f"known: {', '.join(METRICS)}", code=WRONG_USE)
    from store.query import as_dict, latency

    groups = names_in(by)
    with asked.ask() as connection:
        rows = [as_dict(row) for row in latency(connection, asked.span, by=groups)]
    chosen = [row for row in rows if metric in (None, row["metric"])]
    asked.write(chosen, [*groups, "metric", "calls", "p50_ms", "p95_ms", "p99_ms"], empty="no calls in that time")


def top(
    *,
    since: Since = "15m",
    limit: Limit = 20,
    once: Annotated[bool, typer.Option("--once", help="One look instead of a refreshing screen.")] = False,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Time between two looks.")] = 2.0,
    tz: Zone = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    config: Config = None,
    store: Store = None,
) -> None:
    """Show which sessions and models spend most now.

    Ctrl-C ends it; without a terminal it looks once.

    \b
      weir top
      weir top --since 1h --once
      weir top --once --json
    """
    asked = question(config, store, since=since, tz=tz, as_json=as_json, as_csv=as_csv)
    once = once or asked.form is not Form.TABLE or not sys.stdout.isatty()
    window = None if asked.since is None else datetime.now(UTC) - asked.since
    while True:
        rows = _burning(asked)[:limit]
        if not once:
            print(f"\033[H\033[2J{datetime.now(asked.zone):%H:%M:%S}  the last {since}, dearest first")
        columns = ["session_id", "project", "model"]
        asked.write(rows, [*columns, *COLUMNS], shown=[*columns, *SHOWN], empty=f"no calls since {since}")
        if once:
            return
        time.sleep(every)
        asked = replace(asked, since=_slid(window))


def _slid(window: timedelta | None) -> datetime | None:
    return None if window is None else datetime.now(UTC) - window


def _burning(asked: Question) -> list[Row]:
    rows, _ = _usage(asked, ("session", "project", "model"))
    return sorted(rows, key=lambda row: (-row["cost_usd"], -row["output_tokens"], -row["calls"]))
