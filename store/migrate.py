"""Alembic from code: brings a database to the newest step, and says where it stands. Needs no alembic.ini.

The steps live in the package `migrations`, which stands beside `store` in a checkout, in an editable install and in a
wheel alike.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import store
from store.engine import TABLES_LOCK, open_engine, reader_of, sqlite_path
from store.schema import metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a database stands."""

    revision: str | None
    """None: empty, or not made by weir."""
    head: str
    pending: tuple[str, ...]
    """Steps still to run, oldest first."""

    @property
    def current(self) -> bool:
        """True when nothing is left to do."""
        return self.revision == self.head


def upgrade(url: str) -> State:
    """Runs the steps that are missing. Safe when several processes call it at once: the others wait, then find it done.

    Raises sqlalchemy.exc.SQLAlchemyError or OSError when the database cannot be reached or changed.
    """
    path = sqlite_path(url)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _engine(url) as engine, engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(TABLES_LOCK)))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return _state(connection)


def check(url: str) -> State:
    """Reads where the database stands, changing nothing; a SQLite file that is not there is not made."""
    path = sqlite_path(url)
    if path is not None and not path.exists():
        return _state(None)
    with _engine(url) as engine, reader_of(engine).connect() as connection:
        return _state(connection)


def differences(url: str) -> list[Any]:
    """What Alembic finds different between the database and `store.schema`; [] after `upgrade`."""
    with _engine(url) as engine, reader_of(engine).connect() as connection, warnings.catch_warnings():
        # Indexes on expressions serve the views and are left out below; on SQLite SQLAlchemy cannot read them at all.
        warnings.filterwarnings("ignore", "Skipped unsupported reflection of expression-based index ix_calls_view_")
        context = MigrationContext.configure(connection, opts={"include_object": include_object, "compare_type": True})
        return list(compare_metadata(context, metadata))


def include_object(_thing: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
    """Alembic's filter: partitions of `calls` come and go with the months, and what serves views is in migrations."""
    left_out = {"table": ("calls_p", "calls_default"), "index": ("ix_calls_view_",)}
    return not (name or "").startswith(left_out.get(kind, ("\0",)))


def scripts() -> Path:
    """The directory that holds env.py and versions/."""
    return Path(store.__file__).resolve().parent.parent / "migrations"


def _state(connection: sa.Connection | None) -> State:
    script = ScriptDirectory.from_config(_config())
    revision = MigrationContext.configure(connection).get_current_revision() if connection is not None else None
    head = script.get_current_head() or ""
    steps = [step.revision for step in script.walk_revisions(base=revision or "base", head="heads")]
    pending = tuple(step for step in reversed(steps) if step != revision)
    return State(revision=revision, head=head, pending=pending)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return config


@contextmanager
def _engine(url: str) -> Iterator[sa.Engine]:
    engine = open_engine(url, statement_timeout=None, pool_size=1)
    try:
        yield engine
    finally:
        engine.dispose()
