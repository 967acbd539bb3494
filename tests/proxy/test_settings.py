"""Settings: bounds, names, addresses, secrets that stay secret, and the line that children get."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from pydantic import SecretStr, ValidationError

from proxy.settings import (
    RESERVED_NAMES,
    AdminSettings,
    PriceOverride,
    Settings,
    StoreSettings,
    UpstreamSettings,
    is_loopback,
    mask_url,
    plain_base_url,
)

FULL = {
    "admin": {"host": "0.0.0.0", "token": "adm1n-t0ken"},
    "store": {"url": "postgresql://weir:s3cret@db.test:5432/weir"},
    "upstreams": {"fake": {"base_url": "http://127.0.0.1:9/v1/", "wire": {"/llm": "openai.chat"}}},
    "prices": [{"upstream": "fake", "model": "m*", "input_mtok": "0.05", "start": "2026-01-01"}],
    "data": "/tmp/somewhere",
}


def test_a_child_gets_exactly_the_parents_settings() -> None:
    settings = Settings.model_validate(FULL)
    line = settings.to_wire()
    assert "\n" not in line
    child = Settings.from_wire(line)
    assert child == settings
    assert child.admin.token.get_secret_value() == "adm1n-t0ken"
    assert child.store.url == "postgresql+psycopg://weir:s3cret@db.test:5432/weir"
    assert child.prices[0].input_mtok == Decimal("0.05")


def test_secrets_print_as_stars() -> None:
    settings = Settings.model_validate(FULL)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert "adm1n-t0ken" not in shown
        assert "s3cret" not in shown
    assert json.loads(settings.model_dump_json())["store"]["url"] == "postgresql+psycopg://weir:***@db.test:5432/weir"


@given(password=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).map(lambda text: text + "Zq9"))
def test_no_password_survives_masking(password: str) -> None:
    assert "Zq9" not in mask_url(f"postgresql+psycopg://user:{password}@host/db")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().proxy.port = 1  # type: ignore[misc]


def test_the_database_follows_the_data_folder() -> None:
    assert Settings().store.url == "sqlite:///weir-data/weir.db"
    assert Settings.model_validate({"data": "/var/weir"}).store.url == "sqlite:////var/weir/weir.db"
    named = {"data": "/var/weir", "store": {"url": "sqlite:///x.db"}}
    assert Settings.model_validate(named).store.url == "sqlite:///x.db"
    assert Settings.model_validate({"data": "d", "store": {"keep_days": 1}}).store.url == "sqlite:///d/weir.db"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert AdminSettings(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "weir.internal", "localhost.evil.test"])
def test_any_other_host_needs_a_token(host: str) -> None:
    with pytest.raises(ValidationError, match="token must be set"):
        AdminSettings(host=host)
    assert AdminSettings(host=host, token=SecretStr("t")).host == host


@pytest.mark.parametrize("token", ["two words", "tür", "a\nb"])
def test_a_token_can_travel_in_a_header(token: str) -> None:
    with pytest.raises(ValidationError, match="printable ASCII"):
        AdminSettings(token=SecretStr(token))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("postgres://h/db", "postgresql+psycopg://h/db"),
        ("postgresql://h/db", "postgresql+psycopg://h/db"),
        ("postgresql+psycopg://h/db", "postgresql+psycopg://h/db"),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("sqlite:////x.db", "sqlite:////x.db"),
    ],
)
def test_store_addresses(url: str, kept: str) -> None:
    assert StoreSettings(url=url).url == kept


@pytest.mark.parametrize("url", ["mysql://u:pw@h/db", "weir.db", "sqlite://", "sqlite:///", "sqlite:///:memory:", ""])
def test_other_stores_are_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"store|url"):
        StoreSettings(url=url)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://127.0.0.1:9112", "http://127.0.0.1:9112"),
        ("https://h.test/", "https://h.test"),
        ("https://livepeer.studio/api/beta/generate/", "https://livepeer.studio/api/beta/generate"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
    ],
)
def test_base_urls(url: str, kept: str) -> None:
    assert plain_base_url(url) == kept


@pytest.mark.parametrize(
    "url",
    [
        "h.test",
        "ftp://h.test",
        "//h.test",
        "http://",
        "http://u:hunter2@h.test",
        "http://h.test?key=hunter2",
        "http://h.test#hunter2",
        "http://h.test/a b",
        "http://h.test/ä",
        "http://h.test:0",
        "http://h.test:99999",
        "http://h.test:x",
        "http://h.test/\r\nx",
    ],
)
def test_base_urls_that_are_refused_are_not_quoted(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        plain_base_url(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", [*sorted(RESERVED_NAMES), "OpenAI", ".hidden", "-x", "a/b", "", "a b", "ü"])
def test_upstream_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ValidationError, match="upstream name"):
        Settings(upstreams={name: UpstreamSettings(base_url="http://h.test")})


def test_an_upstream_is_its_own_provider_unless_said() -> None:
    upstream = {"base_url": "http://h.test"}
    settings = Settings.model_validate({"upstreams": {"mine": upstream, "other": {**upstream, "provider": "openai"}}})
    assert settings.upstreams["mine"].provider == "mine"
    assert settings.upstreams["other"].provider == "openai"


def test_inject_is_refused_in_words() -> None:
    with pytest.raises(ValidationError, match="not in this version"):
        UpstreamSettings.model_validate({"base_url": "http://h.test", "usage": "inject"})


@pytest.mark.parametrize("wire", [{"llm": "openai.chat"}, {"/llm": "OpenAI Chat"}, {"/llm": ""}])
def test_wire_overrides_are_paths_and_names(wire: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="needs"):
        UpstreamSettings(base_url="http://h.test", wire=wire)


def test_prices_keep_what_was_written() -> None:
    price = PriceOverride.model_validate({"model": "m", "input_mtok": 0.1, "output_mtok": "0.30"})
    assert (price.input_mtok, price.output_mtok) == (Decimal("0.1"), Decimal("0.30"))


@pytest.mark.parametrize(
    "price",
    [
        {"model": "m"},
        {"model": "", "input_mtok": 1},
        {"model": "m", "input_mtok": -1},
        {"model": "m", "input_mtok": "NaN"},
        {"model": "m", "input_mtok": 1, "bill": "all"},
    ],
)
def test_prices_that_say_nothing_or_nonsense(price: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PriceOverride.model_validate(price)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("proxy", "port", 70_000),
        ("proxy", "workers", 0),
        ("proxy", "idle_timeout", 0),
        ("proxy", "idle_timeout", "inf"),
        ("store", "keep_days", 0),
        ("journal", "durability", "sometimes"),
        ("journal", "max_bytes", 10),
    ],
)
def test_bounds(section: str, key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({section: {key: value}})


def test_log_level_in_any_case() -> None:
    assert Settings.model_validate({"log_level": "WARNING"}).log_level == "warning"


def test_paths_are_paths() -> None:
    assert Settings().data == Path("weir-data")
