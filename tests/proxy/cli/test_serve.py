"""`weir serve`'s flags, `weir config`, `weir version`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy import supervisor
from proxy.config import keys, load_settings
from proxy.settings import Settings

if TYPE_CHECKING:
    from tests.proxy.cli.conftest import Run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What `weir serve` would have run with, in place of running."""
    found: list[Settings] = []

    def run(settings: Settings) -> int:
        found.append(settings)
        return 7

    monkeypatch.setattr(supervisor, "run", run)
    return found


def test_every_flag_of_serve_reaches_the_settings(weir: Run, started: list[Settings], tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[proxy]\nport = 1\nmax_streams = 5\n")
    flags = "--config other.toml --host 0.0.0.0 --port 9000 --admin-host ::1 --admin-port 9001 --data d --workers 3"
    found = weir("serve", *flags.split(), "--log-level", "warning")
    assert found.code == 7, found.err
    proxy, admin = started[0].proxy, started[0].admin
    assert (proxy.host, proxy.port, proxy.workers, proxy.max_streams) == ("0.0.0.0", 9000, 3, 5)
    assert (admin.host, admin.port, started[0].log_level) == ("::1", 9001, "warning")
    assert (started[0].data, started[0].store.url) == (Path("d"), "sqlite:///d/weir.db")
    weir("serve", "--store", "postgresql://h/db")
    assert started[1].store.url == "postgresql+psycopg://h/db"


@pytest.mark.parametrize(
    "args", [["--port", "x"], ["--port", "70000"], ["--admin-host", "0.0.0.0"], ["--config", "none"]]
)
def test_serve_does_not_start_on_wrong_use(weir: Run, started: list[Settings], args: list[str]) -> None:
    found = weir("serve", *args)
    assert (found.code, started) == (2, [])
    assert found.err


def test_serve_says_why_it_cannot_start(weir: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(settings: Settings) -> int:
        raise supervisor.StartError("port taken", "take another")

    monkeypatch.setattr(supervisor, "run", run)
    found = weir("serve")
    assert (found.code, found.err) == (1, "weir: port taken\nhint: take another\n")


SECRETS = {"WEIR_ADMIN__TOKEN": "hunter2", "WEIR_STORE__URL": "postgresql://u:hunter2@h/db"}


def test_config_is_toml_that_says_the_same(weir: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weir.toml").write_text(
        '[proxy]\nport = 1\n[upstreams.mine]\nbase_url = "http://h"\n[upstreams."a.b"]\nbase_url = "http://h"\n'
        '[[prices]]\nmodel = "m"\ninput_mtok = "0.10"\nstart = 2026-01-01\n[[prices]]\nmodel = "n"\nper_request = 1\n'
    )
    out = weir("config").out
    tomllib.loads(out)
    (tmp_path / "again.toml").write_text(out)
    assert load_settings(tmp_path / "again.toml", env={}) == load_settings(env={})


def test_config_shows_no_secret(weir: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for args in ([], ["--json"]):
        found = weir("config", *args)
        assert found.code == 0
        assert "hunter2" not in found.out + found.err
        assert "postgresql+psycopg://u:***@h/db" in found.out


def test_config_as_json(weir: Run) -> None:
    values = json.loads(weir("config", "--json").out)
    assert values["proxy"]["port"] == 8383
    assert values["upstreams"]["openai"]["base_url"] == "https://api.openai.com"


def test_config_explains_every_key(weir: Run) -> None:
    out = weir("config", "--keys").out
    assert [key.name for key in keys() if f"{key.name} " not in out] == []
    rows = json.loads(weir("config", "--keys", "--json").out)
    assert [list(row) for row in rows] == [["name", "type", "default", "help"]] * len(keys())


def test_version(weir: Run) -> None:
    out = weir("version").out
    assert out.startswith("llm-weir ")
    assert "python " in out
