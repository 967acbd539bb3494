"""The floors of `proxy/__init__.py`, read from the imports: who may know whom, and which library lives in which room.

A library that has no room in ROOMS may not be imported at all: a new dependency is a decision, and this is its place.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ROOMS = {
    "httptools": {"proxy.listener", "proxy.turns", "proxy.answer_head"},
    "uvicorn": {
        "proxy.listener",
        "proxy.turns",
        "proxy.worker",
        "proxy.recorder",
        "proxy.recording",
        "proxy.simulator",
    },
    "uvloop": {"proxy.worker", "proxy.simulator"},
    "starlette": {"proxy.admin", "proxy.llmstudio", "proxy.worker", "proxy.simulator"},
    "certifi": {"proxy.upstream"},
    "brotli": {"proxy.framing.inflate", "proxy.simulator"},
    "backports": {"proxy.framing.inflate", "proxy.simulator"},
    "prometheus_client": {"proxy.metrics", "proxy.recorder"},  # the recorder makes the registry and hands it in
    "tiktoken": {"proxy.tokens"},
    "genai_prices": {"proxy.pricing"},
    "pydantic": {"proxy.settings", "proxy.config"},
    "pydantic_core": {"proxy.settings", "proxy.config"},
    "pydantic_settings": {"proxy.config"},
    "typer": {"proxy.cli"},
    "click": {"proxy.cli"},
    "rich": {"proxy.cli"},
    "sqlalchemy": {"store", "migrations"},
    "psycopg": {"store"},
    "alembic": {"store.migrate", "migrations"},
    "orjson": {"proxy", "store", "migrations"},
}
"""Library → the rooms (a module, or a package with all in it) that may import it."""

PURE = ("store.record", "proxy.gate", "proxy.decide", "proxy.route", "proxy.identity", "proxy.headers", "proxy.meter",
        "proxy.estimates", "proxy.tally", "proxy.framing", "proxy.wire")  # fmt: skip

PURE_STDLIB = {"__future__", "abc", "array", "base64", "binascii", "bisect", "codecs", "collections", "compression",
               "contextlib", "copy", "dataclasses", "decimal", "enum", "fnmatch", "functools", "hashlib", "heapq",
               "hmac", "html", "http", "ipaddress", "itertools", "json", "math", "operator", "re", "string", "struct",
               "types", "typing", "unicodedata", "urllib.parse", "zlib"}  # fmt: skip
"""What a pure file may take from the standard library: nothing here has a clock, a socket, a file or a logger."""

NEWER_STDLIB = {"compression"}
"""In the standard library of a Python newer than the oldest one supported."""

PURE_THIRD_PARTY = {"orjson"}
DECODERS = {"proxy.framing.inflate": {"brotli", "backports", "backports.zstd", "sys"}}
"""Content codings have no decoder in the standard library; each is bytes in, bytes out."""

WORKER = "proxy.worker"
WORKER_STORE = {"store.record", "store.journal"}
NOT_IN_WORKER = {"sqlalchemy", "alembic", "psycopg", "prometheus_client", "genai_prices", "typer", "rich"}


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    found = {}
    for package in ("proxy", "store", "migrations"):
        for path in sorted((ROOT / package).rglob("*.py")):
            found[module_name(path)] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nodes(node: ast.AST, *, at_import: bool) -> Iterator[ast.AST]:
    """Every node below; with `at_import` only those that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if at_import and (
            is_type_checking(child) or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        ):
            continue
        yield child
        yield from nodes(child, at_import=at_import)


def imports(module: str, *, at_import: bool = False) -> set[str]:
    """Dotted names that a module imports; a `from` import counts as the submodule where it is one, else the module."""
    found: set[str] = set()
    for node in nodes(tree(module), at_import=at_import):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found |= from_import(module, node)
    return found - {module}


def from_import(module: str, node: ast.ImportFrom) -> set[str]:
    base = node.module or ""
    if node.level:
        is_package = modules()[module].name == "__init__.py"
        parts = module.split(".")
        parts = parts[: len(parts) - node.level + is_package]
        base = ".".join([*parts, *([base] if base else [])])
    submodules = {f"{base}.{alias.name}" for alias in node.names}
    return {name if name in modules() else base for name in submodules}


def inside(module: str, rooms: set[str] | tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


def top(name: str) -> str:
    return name.partition(".")[0]


def third_party(names: set[str]) -> set[str]:
    ours = {"proxy", "store", "migrations", "dashboards"}
    known = ours | sys.stdlib_module_names | NEWER_STDLIB
    return {name for name in names if top(name) not in known}


def closure(start: str) -> set[str]:
    """Every module of ours that importing `start` can reach, late imports included, packages above them included."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        module = todo.pop()
        if module in seen or module not in modules():
            continue
        seen.add(module)
        todo += imports(module)
        todo += [module.rpartition(".")[0]]
    return seen


def test_the_store_never_imports_the_proxy() -> None:
    below = [module for module in modules() if top(module) in ("store", "migrations")]
    assert [f"{m} imports {name}" for m in below for name in imports(m) if top(name) == "proxy"] == []


def test_each_library_has_one_room() -> None:
    """A library that is not in ROOMS is a decision: where does it live?"""
    used = [(module, name) for module in modules() for name in third_party(imports(module))]
    assert [f"{m} imports {name}" for m, name in used if not inside(m, ROOMS.get(top(name), set()))] == []


def test_each_library_is_a_dependency_that_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = " ".join(project["dependencies"]).lower().replace("-", "_")
    used = {top(name) for module in modules() for name in third_party(imports(module))}
    with_another = {"click": "typer", "pydantic_core": "pydantic"}
    assert {name for name in used if with_another.get(name, name) not in declared} == set()


def allowed_in_pure(module: str, name: str) -> bool:
    if top(name) in ("proxy", "store"):
        return name in pure_modules()
    harmless = PURE_STDLIB | PURE_THIRD_PARTY | DECODERS.get(module, set())
    return name in harmless or top(name) in PURE_STDLIB - {"http"}


def pure_modules() -> list[str]:
    """The rooms of PURE, and every other file whose docstring says "Pure."."""
    return [m for m in modules() if inside(m, PURE) or "Pure." in (ast.get_docstring(tree(m)) or "").split("\n\n")[0]]


def test_pure_rooms_import_nothing_that_acts() -> None:
    pure = pure_modules()
    assert set(pure) > set(PURE[:4])
    assert [f"{m} imports {name}" for m in pure for name in imports(m) if not allowed_in_pure(m, name)] == []


def test_pure_rooms_open_and_print_nothing() -> None:
    acts = {"open", "print", "input", "exec", "eval", "__import__"}
    pure = pure_modules()
    calls = [(m, ast.unparse(node.func)) for m in pure for node in ast.walk(tree(m)) if isinstance(node, ast.Call)]
    assert [f"{module} calls {name}" for module, name in calls if name in acts] == []


def test_a_worker_takes_only_record_and_journal_from_the_store() -> None:
    reached = closure(WORKER)
    assert WORKER in reached
    taken = {name for name in reached if name.startswith("store.")}
    assert {name for name in taken if not inside(name, WORKER_STORE)} == set()


def test_a_running_worker_has_loaded_no_library_of_the_recorder() -> None:
    script = f"import json, sys, {WORKER}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=50
    )
    loaded = {top(name) for name in json.loads(done.stdout)}
    assert not loaded & NOT_IN_WORKER


def test_there_are_no_import_cycles() -> None:
    edges = {module: {n for n in imports(module, at_import=True) if n in modules()} for module in modules()}
    assert cycles(edges) == []


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """What is left when modules that import no remaining one are taken away again and again, cut down to the rings."""
    left = {module: set(targets) for module, targets in edges.items()}
    while True:
        imported = set().union(*left.values()) if left else set()
        bare = {module for module, targets in left.items() if not targets & left.keys() or module not in imported}
        if not bare:
            return [sorted(left)] if left else []
        left = {module: targets - bare for module, targets in left.items() if module not in bare}


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ({"a": {"b"}, "b": set()}, []),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [["a", "b"]]),
        ({"a": {"a"}}, [["a"]]),
    ],
)
def test_the_cycle_finder_finds_cycles(edges: dict[str, set[str]], found: list[list[str]]) -> None:
    assert cycles(edges) == found


WORK = {"open", "print", "read_text", "read_bytes", "write_text", "connect", "create_engine", "CollectorRegistry",
        "now", "time", "monotonic", "time_ns", "getenv", "basicConfig", "sleep", "Popen", "Thread", "Settings",
        "load_settings", "urandom", "uuid4", "uuid7", "start"}  # fmt: skip


def works_at_import(module: str) -> Iterator[str]:
    for node in nodes(tree(module), at_import=True):
        if isinstance(node, ast.While | ast.With | ast.AsyncWith):
            yield f"{module}:{node.lineno} {type(node).__name__.lower()}"
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in WORK:
            yield from [] if is_main_guard(module, node) else [f"{module}:{node.lineno} {ast.unparse(node.func)}()"]


def test_nothing_works_at_import() -> None:
    """Alembic runs migrations/env.py: being imported is its work."""
    assert [found for module in modules() if module != "migrations.env" for found in works_at_import(module)] == []


def is_main_guard(module: str, call: ast.Call) -> bool:
    """Whether the call stands below `if __name__ == "__main__"`."""
    guards = [node for node in tree(module).body if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)]
    return any(call in ast.walk(guard) for guard in guards)


AUDIT = """
import importlib, json, os, sys
root, names, seen = sys.argv[1], sys.argv[2:], []
ours = tuple(os.path.join(root, top) for top in os.listdir(root) if not top.startswith(".venv"))
def watch(event, args):
    if event == "open" and isinstance(args[0], str):
        path = os.path.abspath(args[0])
        if path.startswith(ours) and not path.endswith((".py", ".pyc")) and "__pycache__" not in path:
            seen.append(f"open {path}")
    elif event.startswith(("socket.", "subprocess.")) and event != "socket.__new__":
        seen.append(event)
sys.addaudithook(watch)
for name in names:
    importlib.import_module(name)
print(json.dumps(seen))
"""


def test_importing_everything_opens_no_file_and_no_socket() -> None:
    names = [name for name in modules() if not name.startswith("migrations") and not name.endswith("__main__")]
    command = [sys.executable, "-c", AUDIT, str(ROOT), *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
