"""`weir`: one function a verb, one file a group. A verb asks `store.query` (or starts what it is for) and prints.

Start-up stays fast because nothing heavy is imported before a verb runs: `weir --help` knows Typer and no database.
Exit codes: 0 fine, 1 a fault was found or something is not there, 2 wrong use. No verb prints a traceback, a key or a
prompt. Not here: SQL (`store/`), and how rows look (`printing`).
"""

from __future__ import annotations

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> None:
    """Runs `weir` with the arguments, by default the process's, and exits with its code."""
    from proxy.cli.app import run

    raise SystemExit(run(args))
