"""All verbs: help that teaches, a fast start, exit codes, and faults without a traceback."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.cli import app, db

if TYPE_CHECKING:
    from tests.proxy.cli.conftest import Run

REPOSITORY = Path(__file__).parents[3]
ALL = [[name] for name, _ in app.VERBS] + [["db", name] for name, _ in db.VERBS]


@pytest.mark.parametrize("verb", ALL, ids=" ".join)
def test_every_verb_has_help_with_examples(weir: Run, verb: list[str]) -> None:
    found = weir(*verb, "--help")
    assert found.code == 0
    assert found.err == ""
    assert f"\n    weir {' '.join(verb)}" in found.out or verb[-1] in ("version", "check", "path")
    assert "\b" not in found.out


@pytest.mark.parametrize("verb", ALL, ids=" ".join)
def test_an_option_that_is_none_is_wrong_use(weir: Run, verb: list[str]) -> None:
    found = weir(*verb, "--colour")
    assert (found.code, found.out) == (2, "")
    assert "--colour" in found.err


def test_the_first_help_names_every_verb_in_whole_sentences(weir: Run) -> None:
    lines = weir("--help").out.splitlines()
    for name, _ in app.VERBS:
        line = next(line for line in lines if line.startswith(f"  {name} "))
        assert line.endswith("."), line
        assert not line.endswith("..."), line


def test_no_verb_is_help_and_an_unknown_one_is_wrong_use(weir: Run) -> None:
    assert "Usage: weir" in weir().out + weir().err
    found = weir("uasge")
    assert found.code == 2
    assert "usage" in found.err


def test_help_starts_fast_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom proxy.cli.app import run\nrun(['--help'])\n"
        "heavy = {'sqlalchemy', 'pydantic', 'rich', 'genai_prices', 'store', 'uvicorn', 'alembic'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert found.stderr.strip() == "[]"
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "proxy", "--help"], capture_output=True, check=True, cwd=REPOSITORY)
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0  # 0.2 s on an idle machine; what matters is held by the imports above


def test_python_m_proxy_is_weir() -> None:
    command = [sys.executable, "-m", "proxy", "usage", "--since", "soon"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert found.returncode == 2
    assert found.stderr.startswith("weir: 'soon' is not a time")


def test_a_fault_that_no_one_foresaw(weir: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise RuntimeError("the moon\nfell")

    monkeypatch.setattr("proxy.config.load_settings", broken)
    found = weir("config")
    assert (found.code, found.out) == (1, "")
    assert "a fault in weir itself: RuntimeError: the moon" in found.err
    assert "fell" not in found.err
