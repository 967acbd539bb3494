"""Options that verbs share, and what they come to: a store, a span of time, a zone, a form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from proxy.cli.faults import WRONG_USE, Fault, store_faults
from proxy.cli.printing import Form, Row, write_rows
from proxy.when import NotATime, span, zone_named

if TYPE_CHECKING:
    from proxy.settings import Settings
    from store.query import Span

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Configuration file instead of weir.toml.")
]
Store = Annotated[str | None, typer.Option("--store", metavar="URL", help="Database instead of the configured one.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="From: 24h, 7d, yesterday, 2026-10-01, ISO 8601.")
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="To: as --since; a date is meant with its whole day.")
]
Zone = Annotated[
    str | None, typer.Option("--tz", metavar="ZONE", help="Time zone of days and times, as Europe/Berlin.")
]
AsJson = Annotated[bool, typer.Option("--json", help="A JSON list of objects.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Comma-separated values with a header.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="At most so many rows.")]


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What every question needs besides itself."""

    url: str
    since: datetime | None
    until: datetime | None
    zone: ZoneInfo
    form: Form

    @property
    def span(self) -> Span:
        """The span as the ledger counts time."""
        from store.query import Span

        return Span(_microseconds(self.since), _microseconds(self.until))

    @contextmanager
    def ask(self) -> Iterator[Any]:
        """A SQLAlchemy connection (whose room is store/) that can only read; what goes wrong on it becomes a Fault."""
        from store.engine import read_only

        with store_faults(self.url), read_only(self.url) as connection:
            try:
                yield connection
            except ValueError as error:
                raise Fault(str(error), code=WRONG_USE) from None

    def write(self, rows: Sequence[Row], columns: Sequence[str], *, shown: Sequence[str] = (), empty: str = "") -> None:
        """Writes an answer in the form and zone that were asked for."""
        write_rows(rows, columns, shown=shown, form=self.form, zone=self.zone, empty=empty)


def _microseconds(at: datetime | None) -> int | None:
    return None if at is None else (at - EPOCH) // timedelta(microseconds=1)


def names_in(text: str) -> list[str]:
    """A comma-separated list of names."""
    return [name.strip().lower() for name in text.split(",") if name.strip()]


def settings_for(config: Path | None, store: str | None = None, **flags: Any) -> Settings:
    """The effective settings; keyword `proxy__port=1` is the flag `proxy.port`."""
    from proxy.config import load_settings

    dotted: Mapping[str, Any] = {"store.url": store, **{key.replace("__", "."): value for key, value in flags.items()}}
    return load_settings(config, flags=dotted)


def question(
    config: Path | None,
    store: str | None,
    *,
    since: str | None = None,
    until: str | None = None,
    tz: str | None = None,
    as_json: bool = False,
    as_csv: bool = False,
) -> Question:
    """The options of a question, checked."""
    form = form_of(as_json, as_csv)
    try:
        zone = zone_named(tz)
        asked_since, asked_until = span(since, until, zone=zone, now=datetime.now(UTC))
    except NotATime as error:
        raise Fault(str(error), code=WRONG_USE) from None
    url = settings_for(config, store).store.url
    return Question(url=url, since=asked_since, until=asked_until, zone=zone, form=form)


def form_of(as_json: bool, as_csv: bool) -> Form:
    """Which of the forms was asked for."""
    if as_json and as_csv:
        raise Fault("--json and --csv at once", "choose one", code=WRONG_USE)
    return Form.JSON if as_json else Form.CSV if as_csv else Form.TABLE
