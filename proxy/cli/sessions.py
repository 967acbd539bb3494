"""`weir sessions`, `weir session`: calls that belong together."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli import calls
from proxy.cli.faults import WRONG_USE, Fault
from proxy.cli.options import AsCsv, AsJson, Config, Limit, Since, Store, Until, Zone, question
from proxy.cli.printing import Form, write_object

COLUMNS = (
    *("session_id", "project", "first_call_at", "last_call_at", "calls", "errors", "unpriced", "unmeasured"),
    *("estimated", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cost_usd", "duration_ms"),
)
SHOWN = ("session_id", "project", "last_call_at", "calls", "errors", "input_tokens", "output_tokens", "cost_usd")


def sessions(
    *,
    since: Since = "7d",
    until: Until = None,
    order: Annotated[str, typer.Option("--order", metavar="cost|time", help="Dearest or latest first.")] = "cost",
    project: Annotated[str | None, typer.Option(metavar="NAME", help="Only this project's.")] = None,
    tz: Zone = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    config: Config = None,
    store: Store = None,
) -> None:
    """List sessions by cost or time.

    Those that had a call in the time asked for, with the sums of the whole session.

    \b
      weir sessions --since 24h
      weir sessions --order time --limit 10
      weir sessions --project search --json
    """
    asked = question(config, store, since=since, until=until, tz=tz, as_json=as_json, as_csv=as_csv)
    if order not in ("cost", "time"):
        raise Fault(f"no order is called {order!r}", "known: cost, time", code=WRONG_USE)
    from store.query import as_dict, sessions

    where = {} if project is None else {"project": project}
    with asked.ask() as connection:
        found = sessions(connection, asked.span, order="cost" if order == "cost" else "time", limit=limit, where=where)
        rows = [as_dict(row) for row in found]
    asked.write(rows, COLUMNS, shown=SHOWN, empty="no sessions in that time; x-weir-session names one")


def session(
    session_id: Annotated[str, typer.Argument(metavar="ID", help="As `weir sessions` shows it.")],
    *,
    tz: Zone = None,
    limit: Limit = 1000,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    config: Config = None,
    store: Store = None,
) -> None:
    """Show one session, call by call.

    \b
      weir session chat-17
      weir session chat-17 --csv          its calls
      weir session chat-17 --json         an object: summaries and calls
    """
    asked = question(config, store, tz=tz, as_json=as_json, as_csv=as_csv)
    from store.query import as_dict, session

    with asked.ask() as connection:
        found = session(connection, session_id, limit=limit)
    if found is None:
        raise Fault(f"no session is called {session_id!r}", "`weir sessions --since 30d` lists them")
    whole = as_dict(found)
    if asked.form is Form.JSON:
        write_object(whole)
        return
    if asked.form is Form.TABLE:
        asked.write(whole["summaries"], COLUMNS, shown=SHOWN)
        print()
    asked.write(whole["calls"], calls.COLUMNS, shown=calls.SHOWN)
