"""Alembic's entry: runs the steps on the connection that `store.migrate` hands in, or on WEIR_STORE__URL.

No offline mode: the steps look at the database (which kind it is), so SQL printed without one would be a guess.
"""

from __future__ import annotations

import os

import sqlalchemy as sa
from alembic import context

from store.engine import open_engine
from store.migrate import include_object
from store.schema import metadata


def _run(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=include_object,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _run_online() -> None:
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _run(connection)
        return
    url = os.environ.get("WEIR_STORE__URL", "sqlite:///weir-data/weir.db")
    engine = open_engine(url, statement_timeout=None)
    with engine.connect() as own, own.begin():
        _run(own)
    engine.dispose()


_run_online()
