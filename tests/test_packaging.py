"""The wheel holds what a running weir needs: it is built, installed into an empty environment, and used from there."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a command away from the checkout; its output, or a failure that shows it."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    build = f"import hatchling.build; print(hatchling.build.build_wheel({str(target)!r}))"
    return target / run(sys.executable, "-c", build, cwd=ROOT).split()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel in it, and this environment's libraries behind it."""
    venv = tmp_path_factory.mktemp("install") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv.parent)
    python = venv / "bin" / "python"
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel),
        cwd=venv.parent,
    )
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=venv.parent).strip())
    # A path in a .pth file is added without reading the .pth files there, so an editable install stays out.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv


def test_the_wheel_holds_the_data_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops <= {"proxy", "store", "migrations", "dashboards"}
    wanted = {"proxy/upstreams.toml", "proxy/py.typed", "store/py.typed", "migrations/env.py"}
    assert wanted <= set(names)
    assert [name for name in names if name.startswith("proxy/vocab/") and name.endswith(".gz")]
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert not [name for name in names if "__pycache__" in name]


def test_it_runs_from_the_wheel_and_not_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "bin" / "python", "-c", "import proxy, store; print(proxy.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed))


def test_migrations_are_found_from_a_wheel(installed: Path, tmp_path: Path) -> None:
    database = tmp_path / "weir.db"
    run(installed / "bin" / "weir", "db", "upgrade", "--store", f"sqlite:///{database}", cwd=tmp_path)
    asked = run(
        *(installed / "bin" / "weir", "sql", "--store", f"sqlite:///{database}", "--json"),
        "SELECT count(*) AS calls FROM call_log",
        cwd=tmp_path,
    )
    assert '"calls": 0' in asked


def test_the_catalogue_is_found_from_a_wheel(installed: Path, tmp_path: Path) -> None:
    assert "api.anthropic.com" in run(installed / "bin" / "weir", "config", cwd=tmp_path)


def test_the_vocabularies_are_found_from_a_wheel(installed: Path, tmp_path: Path) -> None:
    script = "import proxy, pathlib; print(*pathlib.Path(proxy.__file__).parent.glob('vocab/*.gz'))"
    assert "o200k_base" in run(installed / "bin" / "python", "-c", script, cwd=tmp_path)
