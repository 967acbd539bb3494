"""How answers look: a table on a terminal, aligned text in a pipe, JSON and CSV on request. Knows no questions.

JSON is a list of objects and CSV has a header line, both with the names of the SQL columns; numbers are plain, unknown
is null (JSON) or empty (CSV), times are ISO 8601 in UTC. Tables are for eyes: local times, units, and no control
characters, because names of models and sessions come from outside.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Any

Row = Mapping[str, Any]

UNKNOWN = "-"
GAP = 3
"""Characters between two columns of a Rich table without edges."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
"""A moment as `store.query.as_dict` and the views of SQLite write it."""


class Form(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def write_rows(
    rows: Sequence[Row],
    columns: Sequence[str],
    *,
    shown: Sequence[str] = (),
    form: Form = Form.TABLE,
    zone: tzinfo = UTC,
    empty: str = "",
) -> None:
    """Writes rows to standard output. `columns` is what JSON and CSV have; a table has `shown`, where that is given."""
    if form is Form.JSON:
        print(json.dumps([plain(row, columns) for row in rows], ensure_ascii=False, indent=2))
    elif form is Form.CSV:
        write_csv(rows, columns)
    elif rows:
        _write_table(rows, shown or columns, zone)
    elif empty:
        print(empty, file=sys.stderr)


def write_csv(rows: Sequence[Row], columns: Sequence[str], *, header: bool = True) -> None:
    """Comma-separated lines."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if header:
        writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if value is None else _flat(value) for value in plain(row, columns).values()])
    sys.stdout.flush()


def write_json_line(row: Row, columns: Sequence[str]) -> None:
    """One object on one line, at once: for rows that come as time goes on."""
    print(json.dumps(plain(row, columns), ensure_ascii=False), flush=True)


def write_object(value: Row) -> None:
    """One thing as a JSON object."""
    print(json.dumps(_plain(value), ensure_ascii=False, indent=2))


class Ruled:
    """A table whose rows come one by one: columns of a fixed width, the header before the first row."""

    def __init__(self, columns: Sequence[str], widths: Sequence[int], zone: tzinfo) -> None:
        self._columns = columns
        self._widths = widths
        self._zone = zone
        self._begun = False

    def write(self, row: Row) -> None:
        """Writes one row, at once."""
        if not self._begun:
            self._line(self._columns)
            self._begun = True
        self._line([cell(name, row.get(name), self._zone) for name in self._columns])

    def _line(self, texts: Sequence[str]) -> None:
        padded = (text[:width].ljust(width) for text, width in zip(texts, self._widths, strict=True))
        print("  ".join(padded).rstrip(), flush=True)


def write_facts(facts: Row, *, form: Form = Form.TABLE, zone: tzinfo = UTC) -> None:
    """One thing, a fact a line; what is not known is left out of the table."""
    if form is not Form.TABLE:
        write_rows([facts], list(facts), form=form)
        return
    known = {name: cell(name, value, zone) for name, value in facts.items() if value not in (None, "")}
    width = max((len(name) for name in known), default=0)
    for name, text in known.items():
        print(f"{name:<{width}}  {text}")


def plain(row: Row, columns: Sequence[str]) -> dict[str, Any]:
    """The columns of a row, with values that JSON and CSV can hold."""
    return {name: _plain(row.get(name)) for name in columns}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _flat(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def cell(name: str, value: Any, zone: tzinfo = UTC) -> str:
    """One value for eyes: by its type and by the unit at the end of its column's name."""
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, int | float | Decimal):
        return _number(name, value)
    return printable(_flat(_plain(value)))


def _number(name: str, value: float | Decimal) -> str:
    units: tuple[tuple[str, Callable[[float], str]], ...] = (("_usd", dollars), ("_ms", milliseconds), ("bytes", size))
    for unit, write in units:
        if name.endswith(unit):
            return write(float(value))
    if isinstance(value, int):
        return f"{value:,}" if not name.endswith(("status", "seq")) else str(value)
    return f"{value:,.1f}"


def dollars(value: float) -> str:
    """`$12.34`, with as many digits (nine: nano-dollars) as a small amount needs to say something."""
    if value == 0 or abs(value) >= 1:
        return f"${value:,.2f}"
    digits = f"{value:.9f}".rstrip("0").ljust(6, "0") if abs(value) < 0.01 else f"{value:.4f}"
    return f"${digits}"


def milliseconds(value: float) -> str:
    """`850 ms`, `12.3 s`, `4.1 min`."""
    if value < 1000:
        return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"
    return f"{value / 1000:.1f} s" if value < 120_000 else f"{value / 60_000:.1f} min"


def size(value: float) -> str:
    """`512 B`, `1.5 KiB`, `3.2 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the last unit takes all")


def printable(text: object) -> str:
    """The text without what would steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def _write_table(rows: Sequence[Row], columns: Sequence[str], zone: tzinfo) -> None:
    right = [_is_number(rows, name) for name in columns]
    cells = [[cell(name, row.get(name), zone) for name in columns] for row in rows]
    if sys.stdout.isatty():
        _write_rich(columns, cells, right)
    else:
        for line in aligned([list(columns), *cells], right):
            print(line)


def _is_number(rows: Sequence[Row], name: str) -> bool:
    known = [row.get(name) for row in rows if row.get(name) is not None]
    return bool(known) and all(isinstance(value, int | float | Decimal) and value is not True for value in known)


def aligned(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> Iterable[str]:
    """Columns under each other, two spaces between them."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(right))]
    for line in lines:
        padded = [text.rjust(w) if r else text.ljust(w) for text, w, r in zip(line, widths, right, strict=True)]
        yield "  ".join(padded).rstrip()


def fitting(lines: Sequence[Sequence[str]], room: int) -> int:
    """How many columns, from the left, fit into so many characters with their gaps; at least one."""
    used = 0
    for count, width in enumerate(max(map(len, column)) for column in zip(*lines, strict=True)):
        used += width + GAP
        if used > room + GAP and count:
            return count
    return len(lines[0])


def _write_rich(columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    """A table as wide as the terminal: columns stand in the order of their weight, and the last ones give way."""
    # Imported here: a pipe, JSON and --help do not pay for it.
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    count = fitting([columns, *cells], console.width)
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name, is_right in zip(columns[:count], right, strict=False):
        table.add_column(Text(name), justify="right" if is_right else "left", overflow="fold")
    for line in cells:
        table.add_row(*(Text(text) for text in line[:count]))
    console.print(table)
    if count < len(columns):
        console.print(Text(f"on a wider terminal: {', '.join(columns[count:])}", style="dim"))
