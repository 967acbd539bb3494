"""`weir prices`: what the price books say, and what they do not know."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.faults import WRONG_USE, Fault
from proxy.cli.options import AsCsv, AsJson, Config, Since, Store, Until, Zone, form_of, question, settings_for
from proxy.cli.printing import write_rows

if TYPE_CHECKING:
    from proxy.cli.options import Question
    from proxy.settings import Settings

AMOUNTS = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "per_request")
COLUMNS = ("upstream", "model", *AMOUNTS, "source", "price_id")
MISSING = ("upstream", "provider", "model", "unpriced", "calls", "first_hour", "last_hour")


def prices(
    model: Annotated[str | None, typer.Argument(help="A model, or `missing` for what has no price.")] = None,
    *,
    upstream: Annotated[str | None, typer.Option(metavar="NAME", help="Only as this upstream sells it.")] = None,
    since: Since = None,
    until: Until = None,
    tz: Zone = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    config: Config = None,
    store: Store = None,
) -> None:
    """Show prices, or what has none.

    In dollars per million tokens, at each upstream; `missing` lists used models without a price. Your own [[prices]]
    go before the catalogue. Without a model: your own.

    \b
      weir prices gpt-4o
      weir prices gpt-4o --upstream openai
      weir prices missing --since 30d
    """
    if model == "missing":
        _missing(question(config, store, since=since, until=until, tz=tz, as_json=as_json, as_csv=as_csv))
        return
    if since or until:
        raise Fault("--since and --until are for `weir prices missing`", code=WRONG_USE)
    form = form_of(as_json, as_csv)
    settings = settings_for(config, store)
    rows = _own(settings) if model is None else _quotes(settings, model, upstream)
    empty = "no [[prices]] in the configuration; `weir prices MODEL` asks the catalogue too"
    if model is not None and not rows:
        raise Fault(f"no price for {model!r}", "prices are by upstream; a [[prices]] entry in weir.toml sets one")
    write_rows(rows, COLUMNS, form=form, empty=empty)


def _own(settings: Settings) -> list[dict[str, Any]]:
    rows = []
    for number, entry in enumerate(settings.prices, 1):
        amounts = {name: _shown(getattr(entry, name)) for name in AMOUNTS}
        since = f"override {number}" + (f" from {entry.start}" if entry.start else "")
        rows.append(
            {"upstream": entry.upstream, "model": entry.model, **amounts, "source": "override", "price_id": since}
        )
    return rows


def _quotes(settings: Settings, model: str, upstream: str | None) -> list[dict[str, Any]]:
    from proxy.pricing import Pricer

    names = list(settings.upstreams) if upstream is None else [upstream]
    if upstream is not None and upstream not in settings.upstreams:
        raise Fault(f"no upstream is called {upstream!r}", "`weir config` lists them", code=WRONG_USE)
    pricer, now = Pricer(settings.prices, settings.upstreams), time.time_ns() // 1000
    rows = []
    for name in names:
        quote = pricer.quote(name, model, now)
        if quote is not None:
            amounts = {key: quote.amounts.get(key) for key in AMOUNTS}
            rows.append(
                {"upstream": name, "model": model, **amounts, "source": quote.source, "price_id": quote.price_id}
            )
    return rows


def _missing(asked: Question) -> None:
    from store.query import as_dict, unpriced_models

    with asked.ask() as connection:
        rows = [as_dict(row) for row in unpriced_models(connection, asked.span)]
    asked.write(rows, MISSING, empty="every model that was used has a price")


def _shown(amount: object) -> str | None:
    return None if amount is None else str(amount)
