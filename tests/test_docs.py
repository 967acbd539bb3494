"""The documentation is true: every key, verb, metric, view, column, outcome and address is in it, and examples work.

Where a page holds a table that is made from code (keys, providers, metrics), the test compares whole rows; what it
prints when it fails is the row to put there.
"""

from __future__ import annotations

import ast
import re
import shlex
import sqlite3
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from proxy import settings
from proxy.config import load_settings
from proxy.recording.table import DROP_REASONS, TABLE
from proxy.wire import FORMATS
from store.record import COLUMNS, CostSource, Outcome, UsageSource

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
WEIR = "http://127.0.0.1:8383"
PAGES = [README, *sorted(DOCS.glob("*.md"))]

SECTIONS: dict[str, type[BaseModel]] = {
    "proxy": settings.ProxySettings,
    "admin": settings.AdminSettings,
    "store": settings.StoreSettings,
    "journal": settings.JournalSettings,
    "sessions": settings.SessionSettings,
    "upstreams.NAME": settings.UpstreamSettings,
    "prices": settings.PriceOverride,
}


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8") if page != "README.md" else README.read_text(encoding="utf-8")


def missing_rows(rows: list[str], page: str) -> str:
    """Rows that the page does not have, ready to be pasted."""
    lines = set(text(page).splitlines())
    return "\n".join(row for row in rows if row not in lines)


# -- configuration


def shown(field: FieldInfo) -> str:
    """A default as TOML writes it."""
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value in ({}, ()):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if isinstance(value, int | float) else f'`"{value}"`'


def key_rows(section: str, model: type[BaseModel]) -> list[str]:
    # `|` in a description would end the table's cell.
    prefix = f"{section}." if section else ""
    return [
        f"| `{prefix}{name}` | {shown(field)} | {(field.description or '').replace('|', chr(92) + '|')} |"
        for name, field in model.model_fields.items()
    ]


def top_level_rows() -> list[str]:
    plain = {n: f for n, f in settings.Settings.model_fields.items() if n in ("data", "log_level")}
    return [f"| `{name}` | {shown(field)} | {field.description} |" for name, field in plain.items()]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented_with_its_default(section: str) -> None:
    assert missing_rows(key_rows(section, SECTIONS[section]), "configuration.md") == ""


def test_every_section_is_documented() -> None:
    named = {name.partition(".")[0] for name in SECTIONS} | {"data", "log_level"}
    assert named == set(settings.Settings.model_fields)
    assert missing_rows(top_level_rows(), "configuration.md") == ""


def provider_rows() -> list[str]:
    catalogue = tomllib.loads((ROOT / "proxy" / "upstreams.toml").read_text(encoding="utf-8"))
    return [
        f"| `{name}` | `{WEIR}{one['app_path']}` | {one['base_url']} | {one.get('price_provider', '-')} |"
        for name, one in catalogue.items()
    ]


def test_every_known_provider_is_documented() -> None:
    assert missing_rows(provider_rows(), "providers.md") == ""


def test_every_wire_format_is_documented() -> None:
    assert [name for name in FORMATS if f"`{name}`" not in text("providers.md")] == []


# -- metrics


def metric_rows() -> list[str]:
    return [
        f"| `{m.name}` | {m.kind} | {', '.join(f'`{label}`' for label in m.labels) or '-'} | {m.help} |" for m in TABLE
    ]


def test_every_metric_is_documented_with_its_labels() -> None:
    assert missing_rows(metric_rows(), "metrics.md") == ""


def test_every_reason_of_a_loss_is_documented() -> None:
    assert [reason for reason in DROP_REASONS if f"`{reason}`" not in text("operations.md")] == []


# -- SQL


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from store.migrate import upgrade

    path = tmp_path_factory.mktemp("docs") / "weir.db"
    upgrade(f"sqlite:///{path}")
    return path


def columns(database: Path, kind: str) -> dict[str, list[str]]:
    with sqlite3.connect(database) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = ? ORDER BY name", (kind,))
        tables = [name for (name,) in names if not name.startswith(("sqlite_", "alembic_"))]
        found = {t: [row[1] for row in connection.execute(f"PRAGMA table_info({t})")] for t in tables}
    connection.close()
    return found


def part(page: str, heading: str) -> str:
    """What stands below a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no heading {heading}"
    return found[1]


def test_every_view_and_each_of_its_columns_is_documented(database: Path) -> None:
    views = columns(database, "view")
    assert set(views) >= {"call_log", "session_summary", "daily_usage", "hourly_usage", "model_latency"}
    said = {view: part("sql.md", view) + part("sql.md", "The sums") for view in views}
    assert [f"{view}.{name}" for view, names in views.items() for name in names if f"`{name}`" not in said[view]] == []


def test_every_table_is_documented(database: Path) -> None:
    tables = columns(database, "table")
    assert [name for name in tables if f"`{name}`" not in text("sql.md")] == []
    assert [name for name in COLUMNS if f"`{name}`" not in part("sql.md", "calls")] == []


@pytest.mark.parametrize("words", [Outcome, UsageSource, CostSource])
def test_every_value_of_a_column_is_documented(words: Any) -> None:
    assert [value for value in words if f"`{value}`" not in text("sql.md")] == []


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def examples(language: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{page.name}-{n}") for page in PAGES for n, block in enumerate(blocks(page, language))
    ]


@pytest.mark.parametrize("block", examples("sql"))
def test_sql_examples_run(database: Path, block: str) -> None:
    connection = sqlite3.connect(database)
    try:
        for statement in filter(str.strip, block.split(";")):
            connection.execute(statement)
    finally:
        connection.close()


# -- the command line


def command_line() -> Any:
    """The command tree. Typer brings its own copy of click, so its classes have no public names."""
    from proxy.cli.app import build

    return typer.main.get_command(build())


def verbs(group: Any, prefix: str = "weir") -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, f"{prefix} {name}")
        elif not command.hidden:
            yield f"{prefix} {name}"


def test_every_verb_is_documented() -> None:
    assert [verb for verb in verbs(command_line()) if f"`{verb}" not in text("README.md")] == []


@pytest.mark.parametrize(
    "question", ["usage", "top --once", "sessions", "calls", "errors", "latency", "prices missing", "prices gpt-4o"]
)
def test_every_column_of_an_answer_is_documented(
    database: Path, question: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from proxy.cli.app import run

    monkeypatch.chdir(database.parent)
    assert run([*question.split(), "--store", f"sqlite:///{database}", "--csv"]) == 0
    header = capsys.readouterr().out.splitlines()[0].split(",")
    heading = question.removesuffix(" --once").removesuffix(" gpt-4o")
    said = part("cli.md", f"weir {heading}") + (text("sql.md") if question == "calls" else "")
    assert [name for name in header if f"`{name}`" not in said] == []


def parse(command: Any, words: list[str]) -> None:
    """Parses a command line down to its last verb, without running anything; fails where a word is unknown."""
    if hasattr(command, "commands"):
        assert words[1] in command.commands, f"{words[0]} has no verb {words[1]}"
        parse(command.commands[words[1]], words[1:])
    else:
        command.make_context(words[0], words[1:])


def commands() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [re.sub(r"\s+(#|\||>).*", "", line) for line in lines if line.startswith(("weir ", "script/serve"))]


@pytest.mark.parametrize("line", commands())
def test_example_commands_parse(line: str) -> None:
    words = shlex.split(line)
    parse(command_line(), ["weir", "serve", *words[1:]] if words[0] == "script/serve" else words)


@pytest.mark.parametrize("block", examples("toml"))
def test_example_configurations_load(block: str, tmp_path: Path) -> None:
    file = tmp_path / "weir.toml"
    file.write_text(block)
    load_settings(file, env={})


@pytest.mark.parametrize("block", examples("python"))
def test_example_code_is_python(block: str) -> None:
    ast.parse(block)


# -- addresses


def reasons() -> set[str]:
    """Every reason with which weir answers by itself, read from where refusals are made."""
    found: set[str] = set()
    for path in (ROOT / "proxy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Refusal") and len(node.args) > 1:
                found |= {arg.value for arg in node.args[1:2] if isinstance(arg, ast.Constant)}
    from proxy.exchange import _REASONS

    return found | set(_REASONS)


def test_every_reason_of_a_refusal_is_documented() -> None:
    assert "unknown_upstream" in reasons()
    assert sorted(reason for reason in reasons() if f"`{reason}`" not in text("addresses.md")) == []


def test_every_route_of_the_admin_port_is_documented() -> None:
    from proxy.admin.api import routes

    paths = {route.path.replace(":path}", "}") for route in routes(sqlite3.connect)}
    tree = ast.parse((ROOT / "proxy" / "admin" / "app.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Route"]
    paths |= {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    assert paths >= {"/metrics", "/healthz", "/readyz", "/api/calls"}
    assert sorted(path for path in paths if f"`{path}`" not in text("addresses.md")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
