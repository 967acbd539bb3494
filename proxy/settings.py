"""What can be configured, as frozen values; every key has a default, bounds and a description.

This file knows the keys and nothing about where their values come from: files, environment and flags are read in
`proxy.config`. Worker processes get their `Settings` as one JSON line (`to_wire`, `from_wire`), so importing this
file must stay cheap. Secrets print as stars everywhere except in `to_wire`.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FieldSerializationInfo,
    SecretStr,
    field_serializer,
    field_validator,
    model_validator,
)

from proxy.wire import FORMATS

RESERVED_NAMES = frozenset({"with", "v1", "v1beta", "api", "health", "llmstudio"})
"""First path segments that mean something else on the proxy port, so no upstream can have them."""

UPSTREAM_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Price = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]

_REVEAL = {"reveal": True}
_PASSWORD = re.compile(r"(//[^:/\s]*:)\S*@")
_PASSWORD_QUERY = re.compile(r"([?&](?:password|sslpassword)=)[^&\s]*", re.IGNORECASE)
_POSTGRES = re.compile(r"^postgres(ql)?(\+psycopg)?://")


def mask_url(url: str) -> str:
    """The address with stars where a password is."""
    return _PASSWORD_QUERY.sub(r"\1***", _PASSWORD.sub(r"\1***@", url))


def _revealed(info: FieldSerializationInfo) -> bool:
    return bool(info.context and info.context.get("reveal"))


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


class ProxySettings(_Section):
    """`[proxy]`: the port that applications talk to."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 or :: for all.")
    port: Port = Field(8383, description="Port that applications talk to; 0 picks a free one.")
    workers: int = Field(1, ge=1, le=64, description="Worker processes; one fills a CPU at some 7,000 calls a second.")
    default_upstream: str = Field("openai", description="Where a bare /v1/… goes when its path does not decide.")
    max_request_bytes: int = Field(33_554_432, ge=1, description="Largest request body; more is answered 413.")
    max_streams: int = Field(1000, ge=1, description="Calls at one time per worker; more get 503 with Retry-After.")
    max_head_bytes: int = Field(32_768, ge=1024, description="Largest request head; more is answered 431.")
    head_timeout: Seconds = Field(10.0, description="Seconds for a request's head to arrive.")
    body_timeout: Seconds = Field(30.0, description="Seconds of silence allowed while a request's body arrives.")
    connect_timeout: Seconds = Field(5.0, description="Seconds to connect to an upstream, TLS included.")
    first_byte_timeout: Seconds = Field(600.0, description="Seconds for an upstream to begin its answer.")
    idle_timeout: Seconds = Field(300.0, description="Seconds of silence allowed within an answer.")
    drain_timeout: Seconds = Field(25.0, description="Seconds that running calls get to finish after SIGTERM.")
    meter_request_bytes: int = Field(8_388_608, ge=0, description="How much of a request body the meter reads.")


class AdminSettings(_Section):
    """`[admin]`: metrics, health, pages and the JSON API."""

    host: str = Field("127.0.0.1", min_length=1, description="Address of the admin port; not loopback needs a token.")
    port: Port = Field(8384, description="Port of metrics, health, pages and JSON; 0 picks a free one.")
    token: SecretStr = Field(SecretStr(""), description="Asked for as `Authorization: Bearer` on the admin port.")

    @field_validator("token")
    @classmethod
    def _printable(cls, token: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[\x21-\x7e]*", token.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces, as it travels in a header")
        return token

    @model_validator(mode="after")
    def _guarded(self) -> AdminSettings:
        if not is_loopback(self.host) and not self.token.get_secret_value():
            raise ValueError(
                f"host {self.host} can be reached from other machines, so token must be set (or host be 127.0.0.1)"
            )
        return self

    @field_serializer("token", when_used="json")
    def _stars(self, token: SecretStr, info: FieldSerializationInfo) -> str:
        return token.get_secret_value() if _revealed(info) else str(token)


class StoreSettings(_Section):
    """`[store]`: the database that keeps the calls."""

    url: str = Field(
        "sqlite:///weir-data/weir.db",
        description="sqlite:///FILE (default: weir.db in the data folder) or postgresql+psycopg://USER:PASSWORD@HOST/DB.",
    )
    keep_days: int = Field(90, ge=1, le=36_500, description="Days that single calls are kept; rollups stay.")

    @field_validator("url")
    @classmethod
    def _known(cls, url: str) -> str:
        if _POSTGRES.match(url):
            return _POSTGRES.sub("postgresql+psycopg://", url)
        if not url.startswith("sqlite:///"):
            raise ValueError("must begin with sqlite:/// or postgresql+psycopg://")
        if url.removeprefix("sqlite:///") in ("", ":memory:"):
            raise ValueError("must name a file: a database in memory is gone before anyone can ask it")
        return url

    @field_serializer("url")
    def _masked(self, url: str, info: FieldSerializationInfo) -> str:
        return url if _revealed(info) else mask_url(url)

    def __repr_args__(self) -> Any:
        """The fields for `repr`, without the password."""
        return [("url", mask_url(self.url)), ("keep_days", self.keep_days)]


class JournalSettings(_Section):
    """`[journal]`: the files between the workers and the store."""

    durability: Literal["standard", "strict"] = Field(
        "standard", description="standard: on disk within sync_interval; strict: forward only what is on disk."
    )
    max_bytes: int = Field(2_147_483_648, ge=1_048_576, description="Room for calls that the store has not taken yet.")
    sync_interval: Seconds = Field(0.05, description="Seconds between two syncs to disk (durability standard).")


class SessionSettings(_Section):
    """`[sessions]`: which calls belong together."""

    derive: bool = Field(True, description="Link calls by their message prefix when no one names a session.")


class UpstreamSettings(_Section):
    """`[upstreams.NAME]`: one place to forward to."""

    base_url: str = Field(description="Scheme, host, optional port and path prefix; /NAME/rest goes to base_url/rest.")
    provider: str = Field("", description="OpenTelemetry gen_ai.provider.name; the upstream's name when empty.")
    price_provider: str | None = Field(None, description="Provider id in genai-prices; none: no catalogue price.")
    usage: Literal["observe"] = Field("observe", description="observe: nothing is added to a request.")
    estimate: Literal["chat", "text", "off"] = Field(
        "chat", description="When usage is missing: count text and chat overhead, text only, or leave it unknown."
    )
    verify_tls_ca: Path | None = Field(None, description="PEM file of extra certificate authorities to trust.")
    wire: dict[str, str] = Field(
        default_factory=dict, description="Paths (glob) whose wire format is not what their name says, and which it is."
    )
    app_path: str = Field("", description="What an app's base URL needs after weir's own address; for people.")

    @field_validator("usage", mode="before")
    @classmethod
    def _only_observe(cls, usage: object) -> object:
        if usage == "inject":
            raise ValueError('"inject" is not in this version: weir adds nothing to requests; use "observe"')
        return usage

    @field_validator("base_url")
    @classmethod
    def _plain(cls, url: str) -> str:
        return plain_base_url(url)

    @field_validator("wire")
    @classmethod
    def _paths(cls, wire: dict[str, str]) -> dict[str, str]:
        for path, name in wire.items():
            if not path.startswith("/") or name not in FORMATS:
                known = ", ".join(sorted(FORMATS))
                raise ValueError(f'needs "/path" = "wire.format", such as "/llm" = "openai.chat"; formats: {known}')
        return wire


class PriceOverride(_Section):
    """`[[prices]]`: what the operator knows better than the catalogue. The first entry that fits wins."""

    upstream: str = Field("*", description="Upstream that it is for; * for all.")
    model: str = Field(min_length=1, description="Model, exact or glob.")
    input_mtok: Price | None = Field(None, description="Dollars per million input tokens.")
    output_mtok: Price | None = Field(None, description="Dollars per million output tokens.")
    cache_read_mtok: Price | None = Field(None, description="Dollars per million tokens read from a prompt cache.")
    cache_write_mtok: Price | None = Field(None, description="Dollars per million tokens written to a prompt cache.")
    per_request: Price | None = Field(None, description="Dollars per call.")
    start: date | None = Field(None, description="First day (UTC) that the price holds; always when left out.")
    bill: Literal["output", "max_tokens"] = Field(
        "output", description="max_tokens: the provider bills the requested maximum as output, as Livepeer does."
    )

    @model_validator(mode="after")
    def _says_something(self) -> PriceOverride:
        amounts = (self.input_mtok, self.output_mtok, self.cache_read_mtok, self.cache_write_mtok, self.per_request)
        if all(amount is None for amount in amounts):
            raise ValueError("names no price; give at least one of input_mtok, output_mtok, per_request")
        return self


class Settings(_Section):
    """Everything that weir can be told. Built by `proxy.config.load_settings`, or directly in a test."""

    proxy: ProxySettings = Field(default_factory=ProxySettings)
    admin: AdminSettings = Field(default_factory=AdminSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    journal: JournalSettings = Field(default_factory=JournalSettings)
    sessions: SessionSettings = Field(default_factory=SessionSettings)
    data: Path = Field(Path("weir-data"), description="Folder of the journal and, by default, of the database.")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(lambda level: level.lower() if isinstance(level, str) else level),
    ] = Field("info", description="Least important log lines to print: debug, info, warning, error.")
    upstreams: dict[str, UpstreamSettings] = Field(default_factory=dict, description="Places to forward to, by name.")
    prices: tuple[PriceOverride, ...] = Field((), description="Prices that go before the catalogue's.")

    @model_validator(mode="before")
    @classmethod
    def _database_follows_data(cls, values: Any) -> Any:
        """Put the default database into the data folder, wherever that is."""
        if not isinstance(values, dict) or "data" not in values:
            return values
        store = values.get("store", {})
        if not isinstance(store, dict) or "url" in store or not isinstance(values["data"], str | Path):
            return values
        return {**values, "store": {**store, "url": f"sqlite:///{Path(values['data']) / 'weir.db'}"}}

    @field_validator("upstreams")
    @classmethod
    def _named(cls, upstreams: dict[str, UpstreamSettings]) -> dict[str, UpstreamSettings]:
        for name in upstreams:
            _check_name(name)
        return {name: _with_provider(name, upstream) for name, upstream in upstreams.items()}

    def to_wire(self) -> str:
        """One JSON line with everything in it, secrets too: for the pipe to a child process and nowhere else."""
        return self.model_dump_json(context=_REVEAL)

    @classmethod
    def from_wire(cls, line: str | bytes) -> Settings:
        """The settings that a parent wrote with `to_wire`."""
        return cls.model_validate_json(line)


def is_loopback(host: str) -> bool:
    """True when only this machine can reach the host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def plain_base_url(url: str) -> str:
    """The address without a trailing slash; ValueError, which never quotes it, when it is more than a place."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http://HOST[:PORT][/PREFIX] or https://…")
    if "@" in parts.netloc:
        raise ValueError("must not carry a user or password; apps send their own key")
    if "?" in url or "#" in url or not re.fullmatch(r"[\x21-\x7e]+", url):
        raise ValueError("must be a scheme, a host, a port and a path only: no query, fragment or spaces")
    if parts.port == 0:  # reading .port raises ValueError itself when it is no number up to 65535
        raise ValueError("must not have port 0")
    return url.rstrip("/")


def _check_name(name: str) -> None:
    if name in RESERVED_NAMES:
        raise ValueError(f"upstream name {name!r} is reserved, as are {', '.join(sorted(RESERVED_NAMES))}")
    if not UPSTREAM_NAME.fullmatch(name):
        raise ValueError(f"upstream name {name!r} must be lower-case letters, digits, '.', '_' and '-'")


def _with_provider(name: str, upstream: UpstreamSettings) -> UpstreamSettings:
    return upstream if upstream.provider else upstream.model_copy(update={"provider": name})
