"""Where settings come from: defaults < catalogue < weir.toml < `WEIR_*` environment < command-line flags.

`load_settings` merges the layers, remembers which layer said what, and turns every mistake into a `ConfigError` that
names the key, where it stands and the nearest right one, and never quotes a secret. The keys themselves are in
`proxy.settings`, whose names can be imported from here as well.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from proxy.settings import (
    AdminSettings,
    JournalSettings,
    PriceOverride,
    ProxySettings,
    SessionSettings,
    Settings,
    StoreSettings,
    UpstreamSettings,
)

__all__ = [
    "AdminSettings",
    "ConfigError",
    "JournalSettings",
    "Key",
    "PriceOverride",
    "ProxySettings",
    "SessionSettings",
    "Settings",
    "StoreSettings",
    "UpstreamSettings",
    "catalogue",
    "keys",
    "load_settings",
]

DEFAULT_FILE = Path("weir.toml")
CATALOGUE = Path(__file__).with_name("upstreams.toml")
PREFIX = "WEIR_"

# Kubernetes gives every pod such variables for a Service called weir or weir-something
# (kubernetes.io/docs/concepts/services-networking/service, "Environment variables").
_SERVICE_LINK = re.compile(r"WEIR_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
_ABSENT = object()
_TYPE_NAMES = {str: "text", int: "number", float: "number", bool: "true | false", Path: "path", Decimal: "dollars"}
_TYPE_NAMES |= {SecretStr: "secret", date: "date"}


class ConfigError(Exception):
    """A mistake in the configuration, with what to do about it. Its text never holds a secret."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Key(NamedTuple):
    """One key of the configuration, for help and documentation."""

    name: str
    type: str
    default: str
    help: str


@dataclass(frozen=True, slots=True)
class _Layer:
    """One source of values and how to call a key of it when something is wrong."""

    source: str
    values: dict[str, Any]

    def place(self, path: Sequence[str | int]) -> str:
        """Where the value of the path stands: a file, or the variable that holds it."""
        if self.source != PREFIX:
            return self.source
        names = list(itertools.takewhile(lambda part: isinstance(part, str), path))
        below = "__*" if isinstance(_value(self.values, names), dict) else ""
        return f"environment variable {PREFIX}{'__'.join(map(str, names)).upper()}{below}"


def _value(values: Any, path: Sequence[str | int]) -> Any:
    """The value at a path, `_ABSENT` where there is none."""
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return values


def _place(path: Sequence[str | int], layers: Sequence[_Layer]) -> str:
    """` (where)` for a message: the highest layer that says something at the path."""
    found = next((layer for layer in reversed(layers) if _value(layer.values, path) is not _ABSENT), None)
    return f" ({found.place(path)})" if found else ""


def load_settings(
    config: Path | None = None, env: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> Settings:
    """The effective settings. `flags` are dotted keys (`{"proxy.port": 80}`); None means not given.

    Raises ConfigError for a missing `config`, an unknown key or a wrong value. `WEIR_CONFIG` names a file too.
    """
    env = os.environ if env is None else env
    named = config or (Path(env["WEIR_CONFIG"]) if env.get("WEIR_CONFIG") else None)
    layers = [
        _Layer("catalogue", {"upstreams": catalogue()}),
        _Layer(str(named or DEFAULT_FILE), _read_file(named)),
        _Layer(PREFIX, _read_environment(env)),
        _Layer("command line", _nest(flags or {})),
    ]
    return _checked(_validated(layers), layers)


def catalogue() -> dict[str, dict[str, Any]]:
    """The known providers, as `upstreams.toml` has them."""
    return tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))


def keys() -> tuple[Key, ...]:
    """Every key that can be set, in documentation order; tables by name are written `upstreams.NAME.…`."""
    return tuple(_keys(Settings, ""))


def _keys(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        table = _table(field)
        if table is None:
            yield Key(prefix + name, _type_name(field.annotation), _default(field), field.description or "")
        else:
            yield from _keys(table[0], f"{prefix}{name}{table[1]}.")


def _table(field: FieldInfo) -> tuple[type[BaseModel], str] | None:
    """The model below a field, and how its place is written: `.NAME` for a table by name, `[]` for a list."""
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    models = [arg for arg in get_args(annotation) if isinstance(arg, type) and issubclass(arg, BaseModel)]
    if not models:
        return None
    return models[0], ".NAME" if issubclass(models[0], UpstreamSettings) else "[]"


def _type_name(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(args[0])
    if origin is Literal:
        return " | ".join(args)
    if origin is dict:
        return "table"
    if args:
        return " | ".join(_type_name(arg) for arg in args if arg is not type(None))
    return _TYPE_NAMES.get(annotation, str(annotation.__name__))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "(required)"
    if value in (None, {}, ()) or isinstance(value, SecretStr):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_file(named: Path | None) -> dict[str, Any]:
    path = named or DEFAULT_FILE
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named is None:
            return {}
        raise ConfigError(f"no configuration file {path}", "name an existing TOML file, or leave it out") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", "is it a file that this user may read?") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text", "TOML files are UTF-8; save it again as that") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", "strings need quotes; tables look like [proxy]") from None


def _read_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """The `WEIR_*` variables as nested values. Empty ones count as not set, as compose files leave them."""
    ours = {name: value for name, value in env.items() if name.startswith(PREFIX) and value}
    ours = {name: value for name, value in ours.items() if name != "WEIR_CONFIG" and not _foreign(name, value)}
    for name in ours:
        if name.removeprefix(PREFIX).lower().split("__")[0] not in Settings.model_fields:
            known = [_variable(key.name) for key in keys()]
            raise ConfigError(f"unknown environment variable {name}", _nearest(name, known))
    return _explode(ours) if ours else {}


def _foreign(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name) or (name.endswith("_PORT") and _SERVICE_ADDRESS.match(value)))


def _explode(variables: Mapping[str, str]) -> dict[str, Any]:
    # Imported here: it costs 0.4 s, and the processes that get their settings on a pipe never need it.
    from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

    class Environment(Settings, BaseSettings):  # type: ignore[misc]  # two shapes of model_config, both dicts
        """The keys of Settings, in the shape that pydantic-settings reads an environment for."""

    source = EnvSettingsSource(Environment, env_prefix=PREFIX, env_nested_delimiter="__")
    source.env_vars = {name.lower(): value for name, value in variables.items()}
    try:
        return source()
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        name = PREFIX + (field[1].upper() if field else "*")
        raise ConfigError(f"environment variable {name} is not JSON", f"or set single keys, as {name}__KEY") from None


def _nest(flags: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for dotted, value in flags.items():
        *tables, name = dotted.split(".")
        place = nested
        for table in tables:
            place = place.setdefault(table, {})
        if value is not None:
            place[name] = value
    return nested


def _merged(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _validated(layers: Sequence[_Layer]) -> Settings:
    values: dict[str, Any] = {}
    for layer in layers:
        values = _merged(values, layer.values)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        faults = [_explain(detail, layers) for detail in error.errors()]
    raise ConfigError("\n".join(message for message, _ in faults), next((hint for _, hint in faults if hint), ""))


def _explain(detail: ErrorDetails, layers: Sequence[_Layer]) -> tuple[str, str]:
    """One fault in words: (what is wrong and where, what to do)."""
    path = detail["loc"]
    place = _place(path, layers)
    name = _dotted(path)
    if detail["type"] == "extra_forbidden":
        return f"unknown key {name}{place}", _nearest(name, _names_beside(path))
    if detail["type"] == "missing":
        return _missing(path, name)
    if detail["type"] == "model_type":  # what was written instead may be a secret
        return f"{name}: must be a table{place}", f"write [{name}] and its keys below, one a line"
    reason = detail["msg"].removeprefix("Value error, ")
    shown = _shown(name, detail["input"])
    return f"{name}{shown}: {reason}{place}", ""


def _missing(path: Sequence[str | int], name: str) -> tuple[str, str]:
    if path[0] == "upstreams" and path[-1] == "base_url":
        add = f'add base_url = "https://…" to [upstreams.{path[1]}]'
        return f"{name} is missing: {path[1]} is not in the catalogue", _nearest(str(path[1]), list(catalogue()), add)
    return f"{name} is missing", ""


def _shown(name: str, value: object) -> str:
    """` = value` for a message; nothing for what may be, or hold, a secret."""
    if not isinstance(value, str | int | float) or re.search(r"token|url|password|key", name):
        return ""
    return f" = {value!r}" if len(repr(value)) <= 80 else ""


def _dotted(path: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _names_beside(path: Sequence[str | int]) -> list[str]:
    """Every known key, with the NAME and the index of this path filled in."""
    names = [key.name for key in keys()]
    if len(path) > 1:
        names = [name.replace(".NAME.", f".{path[1]}.").replace("[]", f"[{path[1]}]") for name in names]
    return [*names, *(name for name in Settings.model_fields if name not in names)]


def _nearest(name: str, known: Sequence[str], otherwise: str = "`weir config --keys` lists them all") -> str:
    lasts = {entry.rpartition(".")[2]: entry for entry in reversed(known)}
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    close = close or [lasts[last] for last in difflib.get_close_matches(name.rpartition(".")[2], lasts, n=1)]
    close = close or difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else otherwise


def _variable(key: str) -> str:
    return PREFIX + key.replace(".", "__").upper()


def _checked(settings: Settings, layers: Sequence[_Layer]) -> Settings:
    """What only holds over several keys: names of upstreams that other keys use, and files."""
    known = list(settings.upstreams)
    uses: list[tuple[tuple[str | int, ...], str]] = [
        (("proxy", "default_upstream"), settings.proxy.default_upstream),
        *((("prices", n, "upstream"), price.upstream) for n, price in enumerate(settings.prices)),
    ]
    for path, name in uses:
        if name not in known and not (name == "*" and path[0] == "prices"):
            message = f"{_dotted(path)} = {name!r} is no upstream{_place(path, layers)}"
            raise ConfigError(message, _nearest(name, known, "`weir config` lists the upstreams"))
    for name, upstream in settings.upstreams.items():
        if upstream.verify_tls_ca is not None and not upstream.verify_tls_ca.is_file():
            raise ConfigError(f"upstreams.{name}.verify_tls_ca: no file {upstream.verify_tls_ca}", "give a PEM file")
    return settings
