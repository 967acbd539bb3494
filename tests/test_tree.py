"""The tree of tests is the tree of code, rooms stay small, and what the house refuses is not in it."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = sorted(path.relative_to(ROOT) for top in ("proxy", "store", "migrations") for path in (ROOT / top).rglob("*.py"))
TESTS = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))

TESTED_FROM_OUTSIDE: dict[str, str] = {
    "proxy/simulator": "tests/sdk: the official clients are its test",
}
"""Folder or file → where its tests are, when they are not under its own name."""

NOT_A_NAME = {"utils", "util", "helpers", "helper", "common", "base", "manager", "handler", "handlers", "core", "misc"}
PLACEHOLDERS = re.compile(r"\bTODO\b|\bFIXME\b|\bXXX\b|raise NotImplementedError|assert True\b")


def source(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(ast.parse(source(path))) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def has_code(path: Path) -> bool:
    """More than a docstring, and long enough that something can be wrong in it."""
    return source(path).count("\n") > 25 and len(ast.parse(source(path)).body) > 1


def own_test(path: Path) -> Path:
    """proxy/framing/sse.py → tests/proxy/framing/test_sse.py; for `__init__.py` the name of its package."""
    name = path.parent.name if path.name == "__init__.py" else path.stem
    return Path("tests") / path.parent / f"test_{name}.py"


def needs_a_test(path: Path) -> bool:
    elsewhere = any(path.is_relative_to(room) for room in TESTED_FROM_OUTSIDE)
    return has_code(path) and path.name != "__main__.py" and path.parts[0] != "migrations" and not elsewhere


def about_something(test: Path) -> bool:
    """tests/proxy/test_meter_limits.py is about proxy/meter.py, or about a package proxy/meter/."""
    room, stem = Path(*test.parts[1:-1]), test.stem.removeprefix("test_")
    subjects = {p.stem for p in (ROOT / room).iterdir()} | {room.name}
    return any(stem == name or stem.startswith(f"{name}_") for name in subjects)


def test_each_file_has_its_test_file() -> None:
    assert [str(own_test(p)) for p in CODE if needs_a_test(p) and not (ROOT / own_test(p)).is_file()] == []


def test_each_test_file_is_about_something_that_exists() -> None:
    mirrored = [p for p in TESTS if p.name.startswith("test_") and p.parts[1] in ("proxy", "store")]
    assert [str(p) for p in mirrored if not about_something(p)] == []


def test_files_stay_below_400_lines() -> None:
    assert [f"{p}: {source(p).count(chr(10))} lines" for p in CODE if source(p).count("\n") > 400] == []


def test_functions_stay_below_60_lines() -> None:
    sizes = [
        (p, f.name, (f.end_lineno or 0) - f.lineno) for p in CODE if p.parts[0] != "migrations" for f in functions(p)
    ]
    assert [f"{path} {name}: {size} lines" for path, name, size in sizes if size > 60] == []


def positional(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [a.arg for a in (*function.args.posonlyargs, *function.args.args) if a.arg not in ("self", "cls")]


def test_functions_take_five_parameters_then_keywords() -> None:
    """Typer turns parameters into options, so the command line may have more."""
    found = [(p, f) for p in CODE if not p.is_relative_to("proxy/cli") for f in functions(p)]
    assert [f"{p}:{f.lineno} {f.name}{tuple(positional(f))}" for p, f in found if len(positional(f)) > 5] == []


def test_names_say_what_is_inside() -> None:
    assert [str(p) for p in [*CODE, *TESTS] if {p.stem.strip("_"), p.parent.name} & NOT_A_NAME] == []


def test_nothing_is_left_for_later() -> None:
    assert [f"{p}: {m.group()}" for p in CODE for m in PLACEHOLDERS.finditer(source(p))] == []


def silent(path: Path) -> list[str]:
    """Every `except` that only passes, without a comment on its lines that says why that is right."""
    lines, found = source(path).splitlines(), []
    for node in ast.walk(ast.parse(source(path))):
        if isinstance(node, ast.ExceptHandler) and all(isinstance(b, ast.Pass | ast.Continue) for b in node.body):
            said = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            found += [] if "#" in said else [f"{path}:{node.lineno}"]
    return found


def test_no_exception_is_swallowed_in_silence() -> None:
    assert [place for path in CODE for place in silent(path)] == []


def test_tests_are_no_packages() -> None:
    assert not [path for path in TESTS if path.name == "__init__.py"]


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


PACKAGE_INDEX = re.compile(r"https?://[\w.-]+/simple\b|--(?:extra-)?index-url |--trusted-host")


def test_no_file_names_a_package_index() -> None:
    """Where packages come from is the machine's business; a lock file holds versions and hashes only."""
    plain = [p for p in tracked() if p.suffix in ("", ".lock", ".toml", ".sh", ".cfg", ".ini", ".md", ".py")]
    named = [(p, PACKAGE_INDEX.search(p.read_text(encoding="utf-8", errors="replace"))) for p in plain]
    assert [f"{p}: {found.group()}" for p, found in named if found and p != Path(__file__)] == []


def test_the_changelog_knows_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == version


def test_scripts_can_be_run() -> None:
    for name in ("serve", "test", "check", "lock", "venv"):
        assert (ROOT / "script" / name).stat().st_mode & 0o111, f"script/{name} is not executable"
