"""The verbs of `weir`, put together; and the one place where a fault becomes words and an exit code."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from proxy.cli import books, calls, check, db, money, prices, serve, sessions
from proxy.cli.faults import WRONG_USE, Fault, show, show_unexpected

HELP = """Measure what LLM applications use: tokens, money, milliseconds, sessions.

Point an app at weir instead of its provider, then ask:

\b
  weir serve                                   start; then http://127.0.0.1:8383/openai/v1
  weir usage --since yesterday --by project,model
  weir sessions --since 24h                    which sessions cost most
  weir calls -f                                calls as they end
  weir sql "SELECT * FROM call_log LIMIT 3"

Questions take --since/--until (24h, 7d, yesterday, ISO 8601), --tz, --json and --csv. They read the store that the
configuration names and need no running server. Exit codes: 0 fine, 1 found a fault, 2 wrong use.
"""

VERBS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("serve", serve.serve),
    ("usage", money.usage),
    ("top", money.top),
    ("sessions", sessions.sessions),
    ("session", sessions.session),
    ("calls", calls.calls),
    ("call", calls.call),
    ("errors", calls.errors),
    ("latency", money.latency),
    ("prices", prices.prices),
    ("sql", books.sql),
    ("verify", books.verify),
    ("check", check.check),
    ("config", serve.config),
    ("version", serve.version),
)
"""Name → function, in the order of `weir --help`."""


def build() -> typer.Typer:
    """The Typer application."""
    # No Rich in help and usage faults: importing it would double the time to `weir --help`.
    options: dict[str, Any] = {"rich_markup_mode": None, "context_settings": {"help_option_names": ["-h", "--help"]}}
    app = typer.Typer(
        name="weir", help=HELP, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, **options
    )
    for name, verb in VERBS:
        app.command(name)(_flushed(verb))
    upkeep = typer.Typer(no_args_is_help=True, help=db.__doc__, **options)
    for name, verb in db.VERBS:
        upkeep.command(name)(_flushed(verb))
    app.add_typer(upkeep, name="db")
    return app


class _PipeClosed(Exception):
    """Whoever read our output has seen enough."""


def _flushed(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, with its output written while a closed pipe can still be told from a fault (Typer exits with 1)."""

    @functools.wraps(verb)
    def flushed(*args: Any, **options: Any) -> None:
        try:
            verb(*args, **options)
            sys.stdout.flush()
        except BrokenPipeError:
            raise _PipeClosed from None

    return flushed


def run(args: Sequence[str] | None = None) -> int:
    """Runs the verb that the arguments name; the exit code."""
    try:
        build()(args=list(sys.argv[1:] if args is None else args), prog_name="weir")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except Fault as fault:
        show(fault.message, fault.hint)
        return fault.code
    except _PipeClosed:
        return _pipe_closed()
    except Exception as error:  # noqa: BLE001 - the last place before a traceback; it is shown
        return _unforeseen(error)
    return 0


def _unforeseen(error: Exception) -> int:
    from proxy.config import ConfigError

    if isinstance(error, ConfigError):
        show(error.message, error.hint)
        return WRONG_USE
    show_unexpected(error)
    return 1


def _pipe_closed() -> int:
    """`weir calls | head` is no fault; the interpreter must not try to flush what no one reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
