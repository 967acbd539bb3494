"""What goes wrong in a verb, in words: what was tried, why it failed, what to do. Never a traceback, never a secret."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

FOUND = 1
"""Exit code: a fault was found, or what was asked for is not there."""
WRONG_USE = 2
"""Exit code: the question or the configuration cannot be understood."""


class Fault(Exception):
    """Ends a verb with a message, a hint and an exit code."""

    def __init__(self, message: str, hint: str = "", *, code: int = FOUND) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


def show(message: str, hint: str = "") -> None:
    """Writes a fault to standard error."""
    for line in message.splitlines():
        print(f"weir: {line}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


def show_unexpected(error: Exception) -> None:
    """Writes a fault that no one foresaw; its traceback only for those who asked for it."""
    if os.environ.get("WEIR_LOG_LEVEL", "").lower() == "debug":
        traceback.print_exception(error)
    first = str(error).splitlines()[0] if str(error) else ""
    show(f"a fault in weir itself: {type(error).__name__}: {first}", "WEIR_LOG_LEVEL=debug shows where it happened")


@contextmanager
def store_faults(url: str) -> Iterator[None]:
    """Turns what a database answers instead of rows into a Fault that names the store, without its password."""
    from proxy.settings import mask_url
    from store.engine import LedgerUnavailable

    try:
        yield
    except LedgerUnavailable as error:
        raise Fault(f"cannot read the store {mask_url(url)}: {_reason(error)}", _hint(url)) from None
    except Exception as error:
        # SQLAlchemy and psycopg have their room in store/: their exceptions are known here by their modules only.
        if type(error).__module__ not in ("sqlalchemy.exc", "psycopg", "psycopg.errors"):
            raise
        raise Fault(f"the store {mask_url(url)} refused: {_reason(error)}", _hint(url, str(error))) from None


def _reason(error: BaseException) -> str:
    """The database's own words, which its driver puts into the cause; the first line has no statement in it."""
    cause = getattr(error, "orig", None) or error.__cause__ or error
    text = str(getattr(cause, "orig", None) or cause).strip()
    return text.splitlines()[0] if text else type(cause).__name__


def _hint(url: str, text: str = "") -> str:
    if "no such table" in text or ("does not exist" in text and "relation" in text):
        return "the tables are not there or old; `weir db upgrade` makes them"
    if url.startswith("sqlite"):
        return "`weir serve` makes the file; --store or WEIR_STORE__URL names another store"
    return "is the server up and the address right? --store or WEIR_STORE__URL names another store"
