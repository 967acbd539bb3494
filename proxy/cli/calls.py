"""`weir calls`, `weir call`, `weir errors`: calls one by one, as they end, and what fails."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.faults import WRONG_USE, Fault, show
from proxy.cli.options import AsCsv, AsJson, Config, Limit, Since, Store, Until, Zone, question
from proxy.cli.printing import Form, Row, Ruled, write_csv, write_facts, write_json_line, write_object

if TYPE_CHECKING:
    from proxy.cli.options import Question
    from store.query import CallRow
    from store.record import CallRecord

COLUMNS = (
    *("call_id", "started_at", "session_id", "session_source", "project", "user_id", "key_id", "upstream", "provider"),
    *("operation", "wire_format", "request_model", "response_model", "model", "stream", "outcome", "http_status"),
    *("error_type", "finish_reason", "duration_ms", "first_chunk_ms", "ttft_ms", "inter_token_ms"),
    *("tokens_per_second", "overhead_ms", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("reasoning_tokens", "total_tokens", "usage_source", "cost_usd", "cost_source", "chunks", "request_bytes"),
    *("response_bytes", "upstream_request_id", "trace_id", "meter_fault"),
)
"""The columns of the view `call_log`."""
SHOWN = (
    *("started_at", "upstream", "model", "outcome", "input_tokens", "output_tokens", "cost_usd", "duration_ms"),
    *("ttft_ms", "http_status", "session_id", "call_id"),
)
WIDTHS = (19, 12, 28, 20, 12, 13, 11, 11, 9, 11, 24, 36)
"""Of the columns shown, while rows come one by one and no one knows the longest."""
ERRORS = (
    *("upstream", "provider", "model", "outcome", "http_status", "error_type", "errors", "sessions"),
    *("first_seen", "last_seen"),
)

Session = Annotated[str | None, typer.Option(metavar="ID", help="Only this session's.")]
Upstream = Annotated[str | None, typer.Option(metavar="NAME", help="Only to this upstream.")]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="Only this model's.")]


def calls(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new calls as they end.")] = False,
    session: Session = None,
    project: Annotated[str | None, typer.Option(metavar="NAME", help="Only this project's.")] = None,
    upstream: Upstream = None,
    model: Model = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only calls that count as errors.")] = False,
    since: Since = None,
    until: Until = None,
    tz: Zone = None,
    limit: Limit = 20,
    every: Annotated[float, typer.Option(min=0.05, metavar="SECONDS", help="With -f: time between two looks.")] = 1.0,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    config: Config = None,
    store: Store = None,
) -> None:
    """List the last calls; -f follows.

    Newest first; with -f oldest first, then new ones as they end (with --json one object a line).

    \b
      weir calls
      weir calls -f
      weir calls --session chat-17 --limit 100
      weir calls --failed --since 1h --json
    """
    asked = question(config, store, since=since, until=until, tz=tz, as_json=as_json, as_csv=as_csv)
    if follow and until:
        raise Fault("--follow has no end, so it takes no --until", code=WRONG_USE)
    from store.query import as_dict, calls

    names = {"session_id": session, "project": project, "upstream": upstream, "model": model}
    where = {name: value for name, value in names.items() if value is not None}
    with asked.ask() as connection:
        found = calls(connection, asked.span, limit=limit, where=where, failed=failed)
    if follow:
        _follow(asked, found[::-1], where=where, failed=failed, every=every)
    asked.write([as_dict(row) for row in found], COLUMNS, shown=SHOWN, empty="no calls")


def _follow(asked: Question, first: list[CallRow], *, where: dict[str, str], failed: bool, every: float) -> None:
    """Writes what there is, then what comes, until someone ends it."""
    from store.query import Tail, as_dict

    write = _writer(asked)
    for row in first:
        write(as_dict(row))
    tail, away = Tail(where=where, failed=failed, shown=first), False
    while True:
        try:
            with asked.ask() as connection:
                new = tail.next(connection, time.time_ns() // 1000)
            away = False
        except Fault as fault:
            # A store that is away for a while comes back; following goes on, and says so once.
            if not away:
                show(fault.message, "still trying")
            new, away = [], True
        for row in new:
            write(as_dict(row))
        time.sleep(every)


def _writer(asked: Question) -> Any:
    if asked.form is Form.JSON:
        return lambda row: write_json_line(row, COLUMNS)
    if asked.form is Form.CSV:
        write_csv([], COLUMNS)
        return lambda row: write_csv([row], COLUMNS, header=False)
    return Ruled(SHOWN, WIDTHS, asked.zone).write


def call(
    call_id: Annotated[str, typer.Argument(metavar="ID", help="As in the answer's x-weir-call-id.")],
    *,
    tz: Zone = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    config: Config = None,
    store: Store = None,
) -> None:
    """Show everything about one call.

    \b
      weir call 0199a3f0-7c1e-7d55-8f2c-0d7a1b2c3d4e
      weir call 0199a3f0-7c1e-7d55-8f2c-0d7a1b2c3d4e --json
    """
    asked = question(config, store, tz=tz, as_json=as_json, as_csv=as_csv)
    from store.query import call

    with asked.ask() as connection:
        found = call(connection, call_id)
    if found is None:
        raise Fault(f"no call has the id {call_id!r}", "is it complete, and is this the right store?")
    facts = _facts(found)
    if asked.form is Form.JSON:
        write_object(facts)
    else:
        write_facts(facts, form=asked.form, zone=asked.zone)


def _facts(record: CallRecord) -> Row:
    """The columns of `call_log`, then those that only the table has, under their names there."""
    from store.query import CallRow, as_dict

    shown = as_dict(CallRow.of(record))
    twins = {"started_at", "cost_nusd"} | {name.replace("_ms", "_us") for name in shown if name.endswith("_ms")}
    rest = {name: value for name, value in record.row().items() if name not in shown and name not in twins}
    return {**shown, **rest}


def errors(
    *,
    since: Since = "24h",
    until: Until = None,
    upstream: Upstream = None,
    model: Model = None,
    tz: Zone = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    config: Config = None,
    store: Store = None,
) -> None:
    """Count what fails, by kind.

    The most frequent first. One by one: `weir calls --failed`.

    \b
      weir errors --since 1h
      weir errors --upstream openai --json
    """
    asked = question(config, store, since=since, until=until, tz=tz, as_json=as_json, as_csv=as_csv)
    from store.query import as_dict, errors

    where = {name: value for name, value in (("upstream", upstream), ("model", model)) if value is not None}
    with asked.ask() as connection:
        rows = [as_dict(row) for row in errors(connection, asked.span, limit=limit, where=where)]
    asked.write(rows, ERRORS, empty="nothing failed in that time")
