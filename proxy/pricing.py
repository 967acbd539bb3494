"""What a call was worth: `Pricer.price(call, reading) -> Cost`, in whole nano-dollars.

In this order: what the provider says it charged; the operator's `[[prices]]`; the catalogue (genai-prices), only for
upstreams that name a price provider; else nothing: an unknown price is NULL and never 0. A price is never guessed from
a model's name alone. `price` does not raise: what goes wrong is counted and leaves the cost unknown.

Not here: counting tokens (the meter), and sums (the ledger).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy.recording.parts import TokenParts, token_parts, unit_details
from store.record import Call, Cost, CostSource, Outcome, Reading

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

    from proxy.settings import PriceOverride, UpstreamSettings

CACHE_SIZE = 4096
"""Names are chosen by clients, so what is remembered about them is bounded (genai-prices' own cache is not)."""
MAX_NAME = 256
MAX_NUSD = (1 << 63) - 1
_MICROSECONDS = 1_000_000
_NUSD_PER_TOKEN = Decimal(1000)
"""Dollars per million tokens → nano-dollars per token."""
_NUSD = Decimal(10**9)

Names = tuple[str, ...]


class Quote(NamedTuple):
    """A price entry as people read it; amounts in dollars, by key of the price book."""

    source: CostSource
    price_id: str
    amounts: dict[str, str]


class Pricer:
    """Prices calls. One per process; made once, as reading the catalogue takes a quarter of a second."""

    def __init__(self, overrides: Sequence[PriceOverride], upstreams: Mapping[str, UpstreamSettings]) -> None:
        self.errors = 0
        """Calls whose price could not be worked out because of a fault in a price book."""
        self._groups = _grouped(overrides)
        self._catalogue = _Catalogue({name: up.price_provider for name, up in upstreams.items() if up.price_provider})
        self._candidates = lru_cache(CACHE_SIZE)(self._find_candidates)
        self._entry = lru_cache(CACHE_SIZE)(self._catalogue.find)

    def price(self, call: Call, reading: Reading) -> Cost:
        """The cost of one call. Estimated tokens are priced like reported ones: `usage_source` tells them apart."""
        if reading.outcome == Outcome.REJECTED:
            return Cost()
        if reading.reported_cost_nusd is not None and 0 <= reading.reported_cost_nusd <= MAX_NUSD:
            return Cost(cost_nusd=reading.reported_cost_nusd, cost_source=CostSource.PROVIDER)
        try:
            return self._from_books(call, reading)
        except Exception:  # noqa: BLE001 - a fault in a price book costs one price, never a record; it is counted
            self.errors += 1
            return Cost()

    def quote(self, upstream: str, model: str, at: int) -> Quote | None:
        """What the books say for a model at a time (microseconds since 1970); None when they say nothing."""
        override = self._override(upstream, (model,), at)
        if override is not None:
            return Quote(CostSource.OVERRIDE, override.price_id, override.amounts)
        entry = self._entry(upstream, (model,))
        if entry is None:
            return None
        prices = entry.prices(_utc(at), None).__dict__
        return Quote(CostSource.CATALOGUE, entry.price_id, {key: _shown(price) for key, price in prices.items()})

    def _from_books(self, call: Call, reading: Reading) -> Cost:
        names = _names(reading)
        override = self._override(call.upstream, names, call.started_at)
        if override is not None:
            return _cost(override.dollars_e9(reading), CostSource.OVERRIDE, override.price_id)
        # Answers name the dated model that was really served; where they do not tell, the request does.
        entry = self._entry(call.upstream, names[::-1])
        parts = token_parts(reading)
        if entry is None or parts is None:
            return Cost()
        return _cost(entry.dollars_e9(call, reading, parts), CostSource.CATALOGUE, entry.price_id)

    def _override(self, upstream: str, names: Names, at: int) -> _Override | None:
        for group in self._candidates(upstream, names):
            for override in group:
                if override.start <= at:
                    return override
        return None

    def _find_candidates(self, upstream: str, names: Names) -> tuple[tuple[_Override, ...], ...]:
        spellings = [spelling for name in names for spelling in _spellings(name)]
        return tuple(group for group in self._groups if group[0].fits(upstream, spellings))


def _cost(nusd: Decimal | None, source: CostSource, price_id: str) -> Cost:
    if nusd is None:
        return Cost()
    whole = int(nusd.to_integral_value(ROUND_HALF_EVEN))
    if whole > MAX_NUSD:
        raise OverflowError("a cost beyond 9.2 billion dollars")
    return Cost(cost_nusd=whole, cost_source=source, price_id=price_id)


def _names(reading: Reading) -> Names:
    """Request's, then answer's model name, without the empty, the equal and the absurdly long."""
    names = (reading.request_model, reading.response_model)
    return tuple(dict.fromkeys(name for name in names if name and len(name) <= MAX_NAME))


_PREFIX = re.compile(r"^(?:.*/)?models/|^arn:.*/")
"""`models/…` and `publishers/X/models/…` (Google), `accounts/X/models/…` (Fireworks), Bedrock's ARNs."""


def _spellings(name: str) -> Iterator[str]:
    """The name in lower case as it stands, then without provider prefixes, then without a `:suffix`.

    `:free` stays: it is another price. Suffixes are OpenRouter's variants (`:online`) and Hugging Face's providers.
    """
    exact = name.lower()
    yield exact
    bare = _PREFIX.sub("", exact)
    if bare != exact:
        yield bare
    stem, colon, suffix = bare.rpartition(":")
    if colon and suffix != "free" and not bare.startswith("ft:"):
        yield stem


@dataclass(slots=True, frozen=True)
class _Override:
    """One `[[prices]]` entry, in nano-dollars per token."""

    upstream: str
    model: str
    pattern: re.Pattern[str]
    start: int
    price_id: str
    amounts: dict[str, str]
    rates: tuple[Decimal, Decimal, Decimal, Decimal]
    """Input, cache read, cache write, output."""
    per_token: bool
    per_request: Decimal
    bills_maximum: bool

    def fits(self, upstream: str, spellings: Iterable[str]) -> bool:
        """Whether the entry is for this upstream and one of these model names."""
        return self.upstream in ("*", upstream) and any(self.pattern.match(spelling) for spelling in spellings)

    def dollars_e9(self, reading: Reading) -> Decimal | None:
        """Nano-dollars before rounding; None when what is billed by is not known."""
        answered = reading.http_status is not None and reading.http_status < 400
        parts = token_parts(reading)
        if self.bills_maximum and answered and reading.max_tokens is not None:
            billed = parts or TokenParts(0, 0, 0, 0, 0)
            parts = billed._replace(output_response=reading.max_tokens, output_reasoning=0)
        if parts is None:
            return self.per_request if answered and not self.per_token else None
        amounts = (parts.input_uncached, parts.input_cache_read, parts.input_cache_write, sum(parts[3:]))
        tokens = sum((rate * amount for rate, amount in zip(self.rates, amounts, strict=True)), Decimal(0))
        return tokens + self.per_request


_AMOUNTS = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok", "per_request")


def _grouped(overrides: Sequence[PriceOverride]) -> tuple[tuple[_Override, ...], ...]:
    """Entries for the same upstream and model, newest start first; groups in the order of the configuration."""
    groups: dict[tuple[str, str], list[_Override]] = {}
    for number, entry in enumerate(overrides, 1):
        groups.setdefault((entry.upstream, entry.model.lower()), []).append(_prepared(number, entry))
    return tuple(tuple(sorted(group, key=lambda one: -one.start)) for group in groups.values())


def _prepared(number: int, entry: PriceOverride) -> _Override:
    given = {key: value for key in _AMOUNTS if (value := getattr(entry, key)) is not None}
    per_input = given.get("input_mtok", Decimal(0))
    rates = (
        per_input,
        given.get("cache_read_mtok", per_input),
        given.get("cache_write_mtok", per_input),
        given.get("output_mtok", Decimal(0)),
    )
    return _Override(
        upstream=entry.upstream,
        model=entry.model,
        pattern=re.compile(translate(entry.model.lower())),
        start=-(1 << 62) if entry.start is None else _midnight(entry.start.toordinal()),
        price_id=f"override {number} {entry.upstream}/{entry.model}",
        amounts={key: str(value) for key, value in given.items()},
        rates=tuple(rate * _NUSD_PER_TOKEN for rate in rates),
        per_token=any(key != "per_request" for key in given),
        per_request=given.get("per_request", Decimal(0)) * _NUSD,
        bills_maximum=entry.bill == "max_tokens",
    )


def _midnight(ordinal: int) -> int:
    return int(datetime.fromordinal(ordinal).replace(tzinfo=UTC).timestamp()) * _MICROSECONDS


def _utc(at: int) -> datetime:
    return datetime.fromtimestamp(at // _MICROSECONDS, UTC)


def _shown(price: Any) -> str:
    tiers = getattr(price, "tiers", None)
    if tiers is None:
        return str(price)
    return ", ".join((str(price.base), *(f"{tier.price} above {tier.start}" for tier in tiers)))


class _Catalogue:
    """The models of genai-prices, through its objects: nothing of it that grows or reaches out is touched."""

    def __init__(self, providers: Mapping[str, str]) -> None:
        self._ids = dict(providers)
        self._known: list[Provider] = _load() if providers else []

    def find(self, upstream: str, names: Names) -> _Entry | None:
        """The catalogue's entry for the first name that it knows."""
        wanted = self._ids.get(upstream)
        provider = next((known for known in self._known if known.id == wanted), None)
        if provider is None:
            return None
        for name in names:
            for spelling in _spellings(name):
                model = provider.find_model(spelling, all_providers=self._known)
                if model is not None:
                    return _Entry(provider, model)
        return None


def _load() -> list[Provider]:
    # Imported here: it costs 0.2 s and 25 MB, which a command that needs no prices should not pay.
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot().providers


_PLAIN = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")
_ODD = ("output_reasoning_mtok", "requests_kcount")
"""Prices of what every call has, for which the catalogue's own arithmetic is used."""


class _Entry:
    """One model of the catalogue."""

    def __init__(self, provider: Provider, model: ModelInfo) -> None:
        from genai_prices import __version__

        self._provider = provider
        self._model = model
        self._fixed = None if isinstance(model.prices, list) else model.prices
        """The prices where they depend on neither date nor hour, which spares working out the time."""
        tiers = {tier for variant in model.price_variants or () if (tier := variant.when.get("service_tier"))}
        # A model borrowed from another provider is sold at its standard price (as ModelInfo.calc_price has it).
        self._tiers = tiers if any(own is model for own in provider.models) else set()
        self.price_id = f"genai-prices {__version__} {provider.id}/{model.id}"

    def prices(self, at: datetime, tier: str | None) -> ModelPrice:
        """The prices that hold at a time and service tier."""
        return self._model.get_prices(at, {"service_tier": tier} if tier in self._tiers and tier else None)

    def dollars_e9(self, call: Call, reading: Reading, parts: TokenParts) -> Decimal | None:
        """Nano-dollars before rounding; None where tokens flowed that the entry has no price for."""
        prices = self._fixed
        if prices is None or reading.service_tier in self._tiers:
            prices = self.prices(_utc(call.started_at), reading.service_tier)
        rates = prices.__dict__
        if not rates:
            return Decimal(0) if self._model.id.endswith(":free") else None
        units = [unit for unit, key in _UNIT_PRICES.items() if key in rates]
        details = unit_details(reading.raw_usage, units) if units else {}
        if not details and not any(key in rates for key in _ODD):
            return _plain(rates, parts)
        return _by_catalogue(prices, parts, details) if _covers(rates, parts) else None


def _covers(rates: Mapping[str, Any], parts: TokenParts) -> bool:
    """False where an entry prices something else, such as audio by the hour or pages: its sum would be a false 0."""
    return ("input_mtok" in rates or not any(parts[:3])) and ("output_mtok" in rates or not any(parts[3:]))


def _by_catalogue(prices: ModelPrice, parts: TokenParts, details: Mapping[str, int]) -> Decimal | None:
    try:
        return _NUSD * prices.calc_price(_usage(parts, details))["total_price"]
    except ValueError:
        # The provider's details contradict its totals. The totals are the firmer numbers.
        return _NUSD * prices.calc_price(_usage(parts, {}))["total_price"]


def _plain(rates: Mapping[str, Any], parts: TokenParts) -> Decimal | None:
    """The sum over four rates: what `ModelPrice.calc_price` works out in 17 µs, in 3 (a test compares all models)."""
    if not _covers(rates, parts):
        return None
    total_input = sum(parts[:3])
    per_input = rates.get("input_mtok")
    total = Decimal(0)
    amounts = (parts.input_uncached, parts.input_cache_read, parts.input_cache_write, sum(parts[3:]))
    for key, amount in zip(_PLAIN, amounts, strict=True):
        if amount:
            rate = rates.get(key, per_input)
            total += (_tier(rate, total_input) if hasattr(rate, "tiers") else rate) * amount
    return total * _NUSD_PER_TOKEN


def _tier(price: Any, total_input: int) -> Decimal:
    """A cliff, not a staircase: the whole call at the rate of the highest tier that its input passes."""
    rate: Decimal = price.base
    for tier in price.tiers:
        if total_input > tier.start:
            rate = tier.price
    return rate


_UNIT_PRICES = {
    "cache_write_1h_tokens": "cache_write_1h_mtok",
    "web_searches": "web_searches_kcount",
    "input_audio_tokens": "input_audio_mtok",
    "input_image_tokens": "input_image_mtok",
    "input_video_tokens": "input_video_mtok",
    "output_audio_tokens": "output_audio_mtok",
    "output_image_tokens": "output_image_mtok",
    "cache_audio_read_tokens": "cache_audio_read_mtok",
    "cache_image_read_tokens": "cache_image_read_mtok",
}


def _usage(parts: TokenParts, details: Mapping[str, int]) -> Any:
    """A Usage of genai-prices. Details are clamped to their parents: it refuses a child that is larger."""
    from genai_prices import Usage

    read, write = parts.input_cache_read, parts.input_cache_write
    total_in, total_out = sum(parts[:3]), sum(parts[3:])
    bounds = {"cache_write_1h_tokens": write, "web_searches": 1 << 53}
    units = dict.fromkeys(("cache_audio_read_tokens", "cache_image_read_tokens"), 0)
    left = {"input": parts.input_uncached, "output": parts.output_response, "cache": read}
    for unit, count in details.items():
        family = unit.partition("_")[0]
        bound = bounds[unit] if unit in bounds else left[family]
        units[unit] = min(count, bound)
        if unit not in bounds:
            left[family] -= units[unit]
    return Usage(
        input_tokens=total_in,
        cache_read_tokens=read,
        cache_write_tokens=write,
        output_tokens=total_out,
        output_reasoning_tokens=parts.output_reasoning,
        **units,
    )
