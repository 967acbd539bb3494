"""Upkeep of the store: tables, size, place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.cli.faults import Fault, store_faults
from proxy.cli.options import AsJson, Config, Store, question, settings_for
from proxy.cli.printing import write_facts

if TYPE_CHECKING:
    from store.migrate import State


def upgrade(*, config: Config = None, store: Store = None) -> None:
    """Make the tables, or bring them up to date.

    `weir serve` does the same when it starts.

    \b
      weir db upgrade
      weir db upgrade --store postgresql://weir@db/weir
    """
    url = settings_for(config, store).store.url
    from store import migrate

    with store_faults(url):
        before = known_state(url)
        after = migrate.upgrade(url)
    if before.revision == after.revision:
        print(f"nothing to do: {after.revision}")
    else:
        print(f"upgraded {before.revision or 'an empty database'} to {after.revision}")


def check(*, config: Config = None, store: Store = None) -> None:
    """Say whether the tables are up to date."""
    url = settings_for(config, store).store.url
    with store_faults(url):
        state = known_state(url)
    print(f"revision {state.revision or 'none'}, newest {state.head}")
    if not state.current:
        raise Fault(f"{len(state.pending)} steps to go: {', '.join(state.pending)}", "`weir db upgrade` runs them")


def path(*, config: Config = None, store: Store = None) -> None:
    """Print where the store is.

    The file of a SQLite store, else the address without its password.

    \b
      datasette "$(weir db path)"
      sqlite3 "$(weir db path)"
    """
    url = settings_for(config, store).store.url
    from proxy.settings import mask_url
    from store.engine import sqlite_path

    print(sqlite_path(url) or mask_url(url))


def known_state(url: str) -> State:
    """Where the store's tables stand; a Fault when they are of a version that this weir does not know."""
    from store import migrate

    try:
        return migrate.check(url)
    except Exception as error:
        # Alembic has its room in store/: its exceptions are known here by their module only.
        if type(error).__module__ not in ("alembic.util.exc", "alembic.script.revision"):
            raise
        raise Fault(f"the store's tables are of another version: {error}", "a newer weir made them; run that") from None


def size(*, config: Config = None, store: Store = None, as_json: AsJson = False) -> None:
    """Print how much the store holds.

    \b
      weir db size
      weir db size --json
    """
    asked = question(config, store, as_json=as_json)
    from store.ledger import Ledger
    from store.query import as_dict, counts

    with asked.ask() as connection:
        held = as_dict(counts(connection))
    with store_faults(asked.url):
        ledger = Ledger(asked.url)
        try:
            facts = {"bytes": ledger.size(), **held}
        finally:
            ledger.dispose()
    write_facts(facts, form=asked.form, zone=asked.zone)


VERBS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("upgrade", upgrade),
    ("check", check),
    ("size", size),
    ("path", path),
)
"""Name → function of `weir db`."""
