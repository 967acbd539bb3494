"""load_settings: which layer wins, and every mistake named with its place and the nearest right key."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from proxy.config import PREFIX, ConfigError, Settings, catalogue, keys, load_settings
from proxy.settings import plain_base_url

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "weir.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def fault(**layers: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_settings(**{"env": {}, **layers})
    assert caught.value.__cause__ is None
    return caught.value


def test_with_no_file_at_all_the_catalogue_works() -> None:
    settings = load_settings(env={})
    assert settings.proxy.port == 8383
    assert settings.upstreams["openai"].base_url == "https://api.openai.com"
    assert settings.upstreams["ktransformers"].base_url == "http://127.0.0.1:9112"
    assert len(settings.upstreams) == len(catalogue()) >= 25


def test_defaults_below_file_below_environment_below_flags(somewhere: Path) -> None:
    write(somewhere, "[proxy]\nport = 1\nworkers = 2\nmax_streams = 3\n")
    env = {"WEIR_PROXY__WORKERS": "4", "WEIR_PROXY__MAX_STREAMS": "5"}
    proxy = load_settings(env=env, flags={"proxy.max_streams": 6, "proxy.port": None}).proxy
    assert (proxy.host, proxy.port, proxy.workers, proxy.max_streams) == ("127.0.0.1", 1, 4, 6)


def test_a_named_file_goes_instead_of_weir_toml(somewhere: Path) -> None:
    write(somewhere, "[proxy]\nport = 1\nworkers = 2")
    other = write(somewhere, "[proxy]\nport = 3", "other.toml")
    assert load_settings(config=other, env={}).proxy.port == 3
    assert load_settings(config=other, env={}).proxy.workers == 1
    assert load_settings(env={"WEIR_CONFIG": str(other)}).proxy.port == 3


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_PROXY__PORT", "9999")
    assert load_settings().proxy.port == 9999


def test_a_catalogue_upstream_changes_only_the_named_keys(somewhere: Path) -> None:
    write(somewhere, '[upstreams.anthropic]\nbase_url = "http://127.0.0.1:1"\n')
    before, after = (load_settings(config=path, env={}) for path in (write(somewhere, "", "e.toml"), None))
    assert after.upstreams["anthropic"].base_url == "http://127.0.0.1:1"
    assert after.upstreams["anthropic"].price_provider == "anthropic"
    assert {n: u for n, u in after.upstreams.items() if n != "anthropic"} == {
        n: u for n, u in before.upstreams.items() if n != "anthropic"
    }


def test_upstreams_and_prices_from_the_environment() -> None:
    env = {
        "WEIR_UPSTREAMS__MINE__BASE_URL": "http://127.0.0.1:1",
        "WEIR_UPSTREAMS__MINE__WIRE": '{"/llm": "openai.chat"}',
        "WEIR_PRICES": '[{"upstream": "mine", "model": "*", "per_request": "0.01"}]',
        "WEIR_STORE": '{"keep_days": 3}',
    }
    settings = load_settings(env=env)
    assert settings.upstreams["mine"].wire == {"/llm": "openai.chat"}
    assert str(settings.prices[0].per_request) == "0.01"
    assert settings.store.keep_days == 3


def test_the_contracts_example_is_a_configuration(somewhere: Path) -> None:
    write(
        somewhere,
        """
        [proxy]
        default_upstream = "openai"
        max_request_bytes = 33_554_432
        [admin]
        token = ""
        [store]
        url = "sqlite:///weir-data/weir.db"
        [journal]
        durability = "strict"
        [sessions]
        derive = true
        [upstreams.ktransformers]
        base_url = "http://127.0.0.1:9112"
        provider = "ktransformers"
        usage = "observe"
        estimate = "text"
        [[prices]]
        upstream = "ktransformers"
        model = "Meta-Llama-3-8B-Instruct"
        input_mtok = "0.05"
        output_mtok = "0.08"
        start = 2026-01-01
        """,
    )
    settings = load_settings(env={})
    assert settings.upstreams["ktransformers"].estimate == "text"
    assert str(settings.prices[0].start) == "2026-01-01"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[proxy]\nprot = 1", "unknown key proxy.prot (weir.toml)", "did you mean proxy.port?"),
        ("port = 1", "unknown key port (weir.toml)", "did you mean proxy.port?"),
        ("[prxy]\nport = 1", "unknown key prxy (weir.toml)", "did you mean proxy?"),
        ("[upstreams.openai]\nurl = 'x'", "unknown key upstreams.openai.url (weir.toml)", "upstreams.openai.base_url?"),
        (
            "[[prices]]\nmodel = 'm'\ninput_mtok = 1\noutput_mtk = 1",
            "unknown key prices[0].output_mtk (weir.toml)",
            "did you mean prices[0].output_mtok?",
        ),
        ("[proxy]\nport = 'abc'", "proxy.port = 'abc': Input should be a valid integer", ""),
        ("[proxy]\nport = 70000", "proxy.port = 70000: Input should be less than or equal to 65535", ""),
        ("[journal]\ndurability = 'x'", "'standard' or 'strict'", ""),
        ("[upstreams.openai]\nusage = 'inject'", "not in this version", ""),
        ("[upstreams.opnai]\nprovider = 'x'", "opnai is not in the catalogue", "did you mean openai?"),
        ("[upstreams.qqqq]\nprovider = 'x'", "qqqq is not in the catalogue", "base_url = "),
        ("[upstreams.api]\nbase_url = 'http://h'", "'api' is reserved", ""),
        (
            "[proxy]\ndefault_upstream = 'opnai'",
            "proxy.default_upstream = 'opnai' is no upstream (weir.toml)",
            "openai?",
        ),
        ("[[prices]]\nmodel='m'\ninput_mtok=1\nupstream='grok'", "prices[0].upstream = 'grok' is no upstream", "groq?"),
        ("[admin]\nhost = '0.0.0.0'", "admin: host 0.0.0.0 can be reached", ""),
        ("[upstreams.openai]\nverify_tls_ca = '/no/such.pem'", "verify_tls_ca: no file /no/such.pem", "PEM"),
        ("[proxy", "weir.toml is not TOML", "[proxy]"),
        ("proxy = 3", "proxy: must be a table (weir.toml)", "write [proxy]"),
    ],
)
def test_mistakes_in_the_file(somewhere: Path, text: str, message: str, hint: str) -> None:
    write(somewhere, text)
    error = fault()
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("WEIR_PROXY__PROT", "unknown key proxy.prot (environment variable WEIR_PROXY__PROT)", "proxy.port?"),
        ("WEIR_STORE_URL", "unknown environment variable WEIR_STORE_URL", "did you mean WEIR_STORE__URL?"),
        ("WEIR_PROXY", "environment variable WEIR_PROXY is not JSON", "WEIR_PROXY__KEY"),
        ("WEIR_PROXY__PORT", "(environment variable WEIR_PROXY__PORT)", ""),
        ("WEIR_PROXY_PORT", "unknown environment variable WEIR_PROXY_PORT", "did you mean WEIR_PROXY__PORT?"),
    ],
)
def test_mistakes_in_the_environment(name: str, message: str, hint: str) -> None:
    error = fault(env={name: "abc"})
    assert message in error.message
    assert hint in error.hint


def test_mistakes_in_flags() -> None:
    assert "proxy.workers = 0" in fault(flags={"proxy.workers": 0}).message
    assert "(command line)" in fault(flags={"proxy.workers": 0}).message


def test_every_fault_is_told_at_once(somewhere: Path) -> None:
    write(somewhere, "[proxy]\nprot = 1\nworkers = 0\n")
    assert len(fault().message.splitlines()) == 2


def test_variables_of_a_kubernetes_service_are_not_ours() -> None:
    env = {
        "WEIR_PORT": "tcp://10.0.0.1:8383",
        "WEIR_PORT_8383_TCP": "tcp://10.0.0.1:8383",
        "WEIR_PORT_8383_TCP_ADDR": "10.0.0.1",
        "WEIR_SERVICE_HOST": "10.0.0.1",
        "WEIR_SERVICE_PORT": "8383",
        "WEIR_SERVICE_PORT_HTTP": "8383",
        "WEIR_PROXY_SERVICE_HOST": "10.0.0.1",
        "WEIR_PROXY_PORT": "tcp://10.0.0.1:8383",
        "WEIR_PROXY__HOST": "",
    }
    assert load_settings(env=env) == load_settings(env={})


@pytest.mark.parametrize(
    "text",
    [
        "[admin]\ntoken = 'hunter2 hunter2'",
        "[admin]\ntokn = 'hunter2'",
        "admin = 'hunter2'",
        "[store]\nurl = 'mysql://u:hunter2@h/db'",
        "store = 'postgresql://u:hunter2@h/db'",
        "[upstreams.openai]\nbase_url = 'https://u:hunter2@h'",
        "[upstreams.openai]\nbase_url = 'https://h?key=hunter2'",
        "[upstreams.openai]\napi_key = 'hunter2'",
        "[upstreams.x]\nprovider = 'x'\napi_key = 'hunter2'",
        "upstreams = ['hunter2']",
        "[admin]\nhost = '0.0.0.0'\n[store]\nurl = 'postgresql://u:hunter2@h/db'",
    ],
)
def test_no_message_quotes_a_secret(somewhere: Path, text: str) -> None:
    write(somewhere, text)
    error = fault()
    assert "hunter2" not in error.message + error.hint + repr(error)


def test_a_named_file_that_is_missing_is_an_error(somewhere: Path) -> None:
    error = fault(config=somewhere / "none.toml")
    assert "none.toml" in error.message
    assert error.hint


def test_files_that_cannot_be_read(somewhere: Path) -> None:
    assert "cannot read" in fault(config=somewhere).message
    (somewhere / "weir.toml").write_bytes(b"\xff\xfe[")
    assert "not UTF-8" in fault().message


def test_keys_cover_every_field_and_each_is_explained() -> None:
    names = {key.name for key in keys()}
    assert {"proxy.host", "admin.token", "upstreams.NAME.base_url", "prices[].model", "data", "log_level"} <= names
    assert all(key.help and key.type for key in keys())
    assert not {key.type for key in keys() if re.search(r"[\[\]']|typing", key.type)}


def test_the_default_shown_is_the_default() -> None:
    settings = Settings()
    for key in keys():
        if re.fullmatch(r"(proxy|journal|store)\.\w+", key.name):
            section, name = key.name.split(".")
            assert key.default == str(getattr(getattr(settings, section), name))


class TestCatalogue:
    def test_prices_are_asked_for_under_names_that_exist(self) -> None:
        known = {provider.id for provider in get_snapshot().providers}
        named = {name: table["price_provider"] for name, table in catalogue().items() if "price_provider" in table}
        assert {name: of for name, of in named.items() if of not in known} == {}
        assert len(named) >= 15

    def test_a_price_provider_is_that_of_the_address(self) -> None:
        providers = {provider.id: provider for provider in get_snapshot().providers}
        for name, table in catalogue().items():
            if "price_provider" in table:
                pattern = providers[table["price_provider"]].api_pattern
                assert re.match(pattern, table["base_url"] + "/"), name

    def test_addresses_are_plain_and_app_paths_begin_with_the_name(self) -> None:
        for name, table in catalogue().items():
            assert plain_base_url(table["base_url"]) == table["base_url"]
            assert f"{table['app_path']}/".startswith(f"/{name}/"), name

    def test_hosted_providers_are_reached_by_tls_and_others_are_on_this_machine(self) -> None:
        for name, table in catalogue().items():
            assert table["base_url"].startswith(("https://", "http://127.0.0.1:")), name

    def test_names_are_free_of_the_environment_delimiter(self) -> None:
        assert not [name for name in catalogue() if "__" in name or not name.islower()]


def test_children_do_not_pay_for_reading_configuration() -> None:
    code = "import sys, proxy.config; print('pydantic_settings' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert out.stdout.strip() == "False"
    assert PREFIX == "WEIR_"
