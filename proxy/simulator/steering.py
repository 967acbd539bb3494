"""What a caller can ask of the simulator, read from `x-sim-*` headers or from the same names in the body's `metadata`.

| name | meaning |
|---|---|
| `x-sim-tokens-in`, `-out`, `-cached`, `-cache-write`, `-reasoning` | token counts of the answer |
| `x-sim-delay-ms` | wait before the first byte |
| `x-sim-gap-ms` | wait between events of a stream |
| `x-sim-encoding` | `gzip`, `br` or `zstd` the body |
| `x-sim-tag` | copied into the simulator's ledger; also makes otherwise equal requests differ |
| `x-sim-dialect` | for addresses that speak several: `0.3` or `1.0` of LLMstudio, `gateway` or `runner` of Livepeer |
| `x-sim-fault` | one of `FAULTS`, with `=N` where it takes a number |

Pure; nothing is sent here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

PREFIX = "x-sim-"

FAULTS: Mapping[str, bool] = {
    "status": True,  # answer with this status, in the provider's own error shape
    "cut-after": True,  # close the connection after N events, without the end of the body
    "reset-after": True,  # the same with a TCP reset
    "hang-after": True,  # fall silent after N events, connection open
    "error-event-after": True,  # send the provider's error event after N events, then end cleanly
    "garbage-after": True,  # after N events one that is not what its framing promises, then go on
    "reset": False,  # TCP reset instead of an answer
    "hang": False,  # no answer at all, connection open
    "garbage": False,  # bytes that are not HTTP, then close
    "no-usage": False,  # leave usage out wherever the provider would put it
    "truncated-gzip": False,  # gzip body without its end, in an HTTP message that ends well
}
"""Name -> whether it takes a number."""

ENCODINGS = frozenset({"gzip", "br", "zstd"})


class SteeringError(ValueError):
    """The caller steers with something that does not exist. Answered with status 400, never ignored."""


class Fault(NamedTuple):
    """A fault to commit; `number` is 0 where it takes none."""

    kind: str
    number: int


NO_FAULT = Fault("", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """One request's wishes. None: the simulator decides."""

    tokens_in: int | None = None
    tokens_out: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    delay: float = 0.0
    gap: float = 0.0
    encoding: str = ""
    tag: str = ""
    dialect: str = ""
    fault: Fault = NO_FAULT


def steer(headers: Mapping[str, str], body: Mapping[str, Any]) -> Steering:
    """The wishes of a request; headers win over body metadata."""
    wishes = {**_from_metadata(body), **{k.lower(): v for k, v in headers.items() if k.lower().startswith(PREFIX)}}
    return Steering(
        tokens_in=_number(wishes, "tokens-in"),
        tokens_out=_number(wishes, "tokens-out"),
        cached=_number(wishes, "tokens-cached"),
        cache_write=_number(wishes, "tokens-cache-write"),
        reasoning=_number(wishes, "tokens-reasoning"),
        delay=(_number(wishes, "delay-ms") or 0) / 1000,
        gap=(_number(wishes, "gap-ms") or 0) / 1000,
        encoding=_encoding(wishes.get(PREFIX + "encoding", "")),
        tag=wishes.get(PREFIX + "tag", ""),
        dialect=wishes.get(PREFIX + "dialect", ""),
        fault=_fault(wishes.get(PREFIX + "fault", "")),
    )


def _from_metadata(body: Mapping[str, Any]) -> dict[str, str]:
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return {}
    return {name.lower(): str(value) for name, value in metadata.items() if name.lower().startswith(PREFIX)}


def _number(wishes: Mapping[str, str], name: str) -> int | None:
    text = wishes.get(PREFIX + name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise SteeringError(f"{PREFIX}{name} must be a whole number, not {text!r}")
    return int(text)


def _encoding(name: str) -> str:
    if name and name not in ENCODINGS:
        raise SteeringError(f"{PREFIX}encoding must be one of {', '.join(sorted(ENCODINGS))}, not {name!r}")
    return name


def _fault(text: str) -> Fault:
    if not text:
        return NO_FAULT
    kind, separator, number = text.partition("=")
    if kind not in FAULTS:
        raise SteeringError(f"{PREFIX}fault {kind!r} is not one of {', '.join(FAULTS)}")
    if FAULTS[kind] != bool(separator) or (separator and not number.isdigit()):
        raise SteeringError(f"{PREFIX}fault {kind} takes {'=N' if FAULTS[kind] else 'no number'}, not {text!r}")
    return Fault(kind, int(number or 0))
