"""Whose fault a database error is: the row's, which no retry mends, or the moment's, which time may."""

from __future__ import annotations

import sqlite3

import psycopg
import sqlalchemy as sa

_ROW_CLASSES = ("22", "23", "54")
"""SQLSTATE classes data exception, integrity constraint violation, program limit exceeded (a too large index entry)."""


def is_row_fault(error: Exception) -> bool:
    """True when the database refuses the data itself. Anything else (lost, locked, full, no table) may pass."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, psycopg.Error):
        return (cause.sqlstate or "").startswith(_ROW_CLASSES)
    if isinstance(cause, sqlite3.Error):
        refused = isinstance(cause, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.InterfaceError)
        return refused or "binding parameter" in str(cause)
    return isinstance(cause, OverflowError | UnicodeError)


def reason_of(error: Exception) -> str:
    """A short name of the fault. Never the message: it may quote the row."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, psycopg.Error) and cause.sqlstate:
        return cause.sqlstate
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorname", None) or type(cause).__name__
    return type(cause).__name__
