"""`weir serve`, `weir config`, `weir version`: starting weir, and what it would start with."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.faults import Fault
from proxy.cli.options import AsJson, Config, settings_for
from proxy.cli.printing import Form, aligned, printable, write_rows


def serve(
    *,
    config: Config = None,
    host: Annotated[str | None, typer.Option(metavar="H", help="Address that applications talk to.")] = None,
    port: Annotated[int | None, typer.Option(metavar="N", help="Its port, 8383 by default; 0: a free one.")] = None,
    admin_host: Annotated[str | None, typer.Option(metavar="H", help="Address of metrics, health and pages.")] = None,
    admin_port: Annotated[int | None, typer.Option(metavar="N", help="Its port, 8384 by default.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of journal and database.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="sqlite:///FILE or postgresql://…")] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Worker processes.")] = None,
    log_level: Annotated[str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")] = None,
) -> None:
    """Start the proxy and all that it needs.

    Ctrl-C or SIGTERM lets running calls finish, then ends it.

    \b
      weir serve                                    SQLite in weir-data/, port 8383
      weir serve --port 9000 --workers 2
      weir serve --store postgresql://weir@db/weir
      weir serve --config /etc/weir.toml
    """
    settings = settings_for(
        config,
        store,
        proxy__host=host,
        proxy__port=port,
        proxy__workers=workers,
        admin__host=admin_host,
        admin__port=admin_port,
        data=data,
        log_level=log_level,
    )
    from proxy.supervisor import StartError, run

    try:
        code = run(settings)
    except StartError as error:
        raise Fault(str(error), error.hint) from None
    raise typer.Exit(code)


def config(
    *,
    config: Config = None,
    as_json: AsJson = False,
    keys: Annotated[bool, typer.Option("--keys", help="Every key that can be set, instead of the values.")] = False,
) -> None:
    """Print the effective settings.

    Secrets are stars. --keys lists every key with its default and meaning instead.

    \b
      weir config                       what `weir serve` would run with
      weir config --keys                every key, its default, what it does
      weir config --json | jq .proxy
    """
    if keys:
        _write_keys(Form.JSON if as_json else Form.TABLE)
        return
    values = json.loads(settings_for(config).model_dump_json())
    print(json.dumps(values, indent=2, ensure_ascii=False) if as_json else "\n".join(_toml(values)))


def _write_keys(form: Form) -> None:
    from proxy.config import keys

    rows = [key._asdict() for key in keys()]
    if form is Form.JSON or sys.stdout.isatty():
        write_rows(rows, ["name", "type", "default", "help"], form=form)
        return
    for line in aligned([[printable(value) for value in row.values()] for row in rows], [False] * 4):
        print(line)


def _toml(values: dict[str, object], table: str = "") -> list[str]:
    """The values as a weir.toml would say them; what is not set is left out, as TOML has no null."""
    lines = [
        f"{_key(name)} = {_value(value)}" for name, value in values.items() if not _below(value) and value is not None
    ]
    if table and lines:
        lines = ["", f"[{table}]", *lines]
    for name, value in values.items():
        if isinstance(value, dict) and value:
            lines += _toml(value, f"{table}.{_key(name)}" if table else _key(name))
        elif _below(value) and isinstance(value, list):
            lines += [line for item in value for line in ("", f"[[{name}]]", *_toml(item))]
    return lines


def _below(value: object) -> bool:
    """True for what stands below its own header in TOML."""
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _key(name: str) -> str:
    bare = name.replace("-", "").replace("_", "")
    return name if bare.isascii() and bare.isalnum() else json.dumps(name)


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def version() -> None:
    """Print versions: weir, its libraries, Python."""
    from importlib.metadata import PackageNotFoundError, version as installed

    names = ("llm-weir", "sqlalchemy", "psycopg", "uvicorn", "genai-prices", "tiktoken", "prometheus-client")
    for name in names:
        try:
            print(f"{name:<18} {installed(name)}")
        except PackageNotFoundError:
            print(f"{name:<18} not installed")
    print(f"{'python':<18} {sys.version.split()[0]}")
