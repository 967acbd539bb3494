"""`weir sql` and `weir verify`: any question, and whether the books balance."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.faults import FOUND, WRONG_USE, Fault
from proxy.cli.options import AsCsv, AsJson, Config, Limit, Store, Zone, question
from proxy.cli.printing import Form, printable, write_object

if TYPE_CHECKING:
    from store.verify import Report


def sql(
    statement: Annotated[str, typer.Argument(help="One SELECT; - reads it from standard input.")],
    *,
    limit: Limit = 1000,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    tz: Zone = None,
    config: Config = None,
    store: Store = None,
) -> None:
    """Run one read-only SQL statement.

    Views: call_log, session_summary, daily_usage, hourly_usage, model_latency, error_log, unpriced_models.

    \b
      weir sql "SELECT model, count(*) AS calls FROM call_log GROUP BY model"
      weir sql --csv "SELECT * FROM daily_usage" > usage.csv
      weir sql - < report.sql
    """
    asked = question(config, store, tz=tz, as_json=as_json, as_csv=as_csv)
    text = sys.stdin.read() if statement == "-" else statement
    with asked.ask() as connection:
        columns, rows = _select(connection, text, limit)
    asked.write([dict(zip(columns, row, strict=True)) for row in rows[:limit]], columns, empty="no rows")
    if len(rows) > limit:
        print(f"more than {limit} rows: --limit shows more", file=sys.stderr)


def _select(connection: Any, text: str, limit: int) -> tuple[list[str], list[Any]]:
    if connection.dialect.name == "postgresql":
        return _select_one(connection.connection.driver_connection, text, limit)
    result = connection.exec_driver_sql(text)  # sqlite3 takes one statement and no more
    if not result.returns_rows:
        raise _no_rows()
    return _distinct(result.keys()), list(islice(result, limit + 1))


def _select_one(driver: Any, text: str, limit: int) -> tuple[list[str], list[Any]]:
    """Runs one statement on PostgreSQL, whose simple protocol would take several: `ROLLBACK; DELETE FROM calls`.

    psycopg speaks the extended protocol in pipeline mode; there the server itself refuses a second statement.
    """
    with driver.cursor() as cursor:
        with driver.pipeline():
            cursor.execute(text)
        if cursor.description is None:
            raise _no_rows()
        return _distinct(column.name for column in cursor.description), cursor.fetchmany(limit + 1)


def _no_rows() -> Fault:
    return Fault("the statement returns no rows", "`weir sql` only reads; write a SELECT", code=WRONG_USE)


def _distinct(names: Iterable[str]) -> list[str]:
    """Column names of a result, which SQL lets repeat and JSON does not: a, a_2, a_3."""
    counts: dict[str, int] = {}
    distinct: list[str] = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        distinct.append(name if counts[name] == 1 else f"{name}_{counts[name]}")
    return distinct


def verify(*, as_json: AsJson = False, config: Config = None, store: Store = None) -> None:
    """Prove that the books balance; exit 1 where not.

    Sums are what the rows say, no call is missing, and parts fit their totals.

    \b
      weir verify
      weir verify --json
    """
    asked = question(config, store, as_json=as_json)
    from store.verify import verify

    with asked.ask() as connection:
        if connection.dialect.name == "postgresql":
            # One moment for all that is compared, while weir goes on writing; SQLite gives that anyway.
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        report = verify(connection)
    if asked.form is Form.JSON:
        write_object({**asdict(report), "balanced": report.balanced})
    else:
        _write(report)
    if not report.balanced:
        raise typer.Exit(FOUND)


def _write(report: Report) -> None:
    state = "the books balance" if report.balanced else f"{len(report.findings)} places where the books do not balance"
    print(f"{state}: {report.calls:,} calls, {report.in_flight:,} in flight")
    for reason, number in report.noted.items():
        print(f"  {number:,} known to be without a row: {printable(reason)}")
    for finding in report.findings:
        print(f"  {finding.kind}: {printable(finding.detail)}")
        for call_id in finding.call_ids:
            print(f"    {call_id}")
