"""Prices: the founding sample, the order of the books, and the catalogue's own arithmetic as an oracle."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from genai_prices import Usage, data_snapshot
from genai_prices.types import ModelPrice
from hypothesis import given, settings, strategies as st

from proxy.pricing import CACHE_SIZE, Pricer
from proxy.settings import PriceOverride, UpstreamSettings
from store.record import Call, Cost, CostSource, Outcome, Reading, UsageSource

NOW = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * 1_000_000


def upstream(price_provider: str | None = None) -> UpstreamSettings:
    return UpstreamSettings(base_url="http://127.0.0.1:1", provider="x", price_provider=price_provider)


UPSTREAMS = {
    "openai": upstream("openai"),
    "anthropic": upstream("anthropic"),
    "gemini": upstream("google"),
    "openrouter": upstream("openrouter"),
    "groq": upstream("groq"),
    "azure": upstream("azure"),
    "local": upstream(),
}


def call(name: str = "openai", at: int = NOW) -> Call:
    return Call(call_id="c", boot_id="b", seq=1, started_at=at, method="POST", path="/", upstream=name)


def reading(model: str | None, tokens_in: int | None = None, tokens_out: int | None = None, **more: Any) -> Reading:
    more = {"outcome": Outcome.OK, "http_status": 200} | more
    return Reading(request_model=model, input_tokens=tokens_in, output_tokens=tokens_out, **more)


def override(**keys: Any) -> PriceOverride:
    return PriceOverride.model_validate(keys)


@pytest.fixture(scope="module")
def book() -> Pricer:
    return Pricer((), UPSTREAMS)


def test_founding_sample_under_the_operators_and_the_catalogues_price(book: Pricer) -> None:
    mine = Pricer([override(upstream="openai", model="gpt-3.5-turbo", input_mtok="1.5", output_mtok="2.0")], UPSTREAMS)
    sample = reading("gpt-3.5-turbo", 6, 26)
    assert mine.price(call(), sample) == Cost(
        cost_nusd=61_000, cost_source=CostSource.OVERRIDE, price_id="override 1 openai/gpt-3.5-turbo"
    )
    cost = book.price(call(), sample)
    assert (cost.cost_nusd, cost.cost_source) == (42_000, CostSource.CATALOGUE)
    assert cost.price_id == f"genai-prices {__import__('genai_prices').__version__} openai/gpt-3.5-turbo"


def test_reported_cost_goes_before_every_book() -> None:
    pricer = Pricer([override(model="*", input_mtok="1")], UPSTREAMS)
    assert pricer.price(call(), reading("gpt-4o", 5, 5, reported_cost_nusd=7)) == Cost(
        cost_nusd=7, cost_source=CostSource.PROVIDER
    )
    for nonsense in (-1, 1 << 63):
        cost = pricer.price(call(), reading("gpt-4o", 5, 5, reported_cost_nusd=nonsense))
        assert cost.cost_source == CostSource.OVERRIDE


def test_unknown_is_null_and_never_zero(book: Pricer) -> None:
    unknown = Cost(cost_nusd=None, cost_source=CostSource.NONE, price_id=None)
    assert book.price(call("local"), reading("gpt-4o", 10, 10)) == unknown
    assert book.price(call("nowhere"), reading("gpt-4o", 10, 10)) == unknown
    assert book.price(call(), reading("no-such-model", 10, 10)) == unknown
    assert book.price(call(), reading(None, 10, 10)) == unknown
    assert book.price(call(), reading("gpt-4o")) == unknown
    assert book.price(call(), reading("gpt-4o", 10, 10, outcome=Outcome.REJECTED)) == unknown
    assert book.price(call(), reading("whisper-1", 10, 10)) == unknown, "priced by the hour of audio"
    assert book.errors == 0


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("gemini", "models/gemini-2.5-flash"),
        ("gemini", "publishers/google/models/gemini-2.5-flash"),
        ("gemini", "Gemini-2.5-Flash"),
        ("openrouter", "openai/gpt-4o:online"),
        ("openai", "gpt-4o"),
        ("azure", "gpt-4o"),
    ],
)
def test_names_are_normalised(book: Pricer, name: str, model: str) -> None:
    assert book.price(call(name), reading(model, 1000, 1000)).cost_source == CostSource.CATALOGUE


def test_answers_name_the_served_model_and_lies_fall_back_to_the_request(book: Pricer) -> None:
    def cost(request: str | None, answer: str | None) -> str | None:
        return book.price(call(), reading(request, 9, 9, response_model=answer)).price_id

    assert str(cost("my-alias", "gpt-4o-2024-08-06")).endswith("openai/gpt-4o")
    assert str(cost("gpt-4o", "not implmented")).endswith("openai/gpt-4o")


def test_free_variants_cost_nothing_and_nobody_elses_price(book: Pricer) -> None:
    free = book.price(call("openrouter"), reading("meta-llama/llama-3.1-8b-instruct:free", 10, 10))
    assert (free.cost_nusd, free.cost_source) == (0, CostSource.CATALOGUE)
    assert book.price(call("openrouter"), reading("openai/gpt-4o:free", 10, 10)).cost_nusd is None


def test_first_matching_entry_wins_and_globs_ignore_case() -> None:
    pricer = Pricer(
        [
            override(upstream="openai", model="gpt-4o", input_mtok="9"),
            override(upstream="local", model="Meta-Llama*", input_mtok="1", output_mtok="2"),
            override(upstream="*", model="*", input_mtok="5"),
        ],
        UPSTREAMS,
    )

    def cost(name: str, model: str) -> int | None:
        return pricer.price(call(name), reading(model, 10, 0)).cost_nusd

    assert cost("local", "meta-llama-3-8B-Instruct") == 10_000
    assert cost("local", "gpt-4o") == 50_000
    assert cost("openai", "gpt-4o") == 90_000
    assert cost("openai", "gpt-4o-mini") == 50_000, "an override goes before the catalogue"


def test_dated_entries_of_one_model_take_the_latest_that_has_begun() -> None:
    days = [(None, "1"), (date(2026, 1, 1), "2"), (date(2026, 6, 1), "3")]
    pricer = Pricer([override(model="m", input_mtok=price, start=start) for start, price in days], UPSTREAMS)

    def cost(*when: int) -> int | None:
        at = int(datetime(*when, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[arg-type]
        return pricer.price(call("local", at), reading("m", 1, 0)).cost_nusd

    assert [cost(2025, 12, 31, 23, 59, 59), cost(2026, 1, 1), cost(2026, 5, 31), cost(2026, 6, 1)] == [
        1e3,
        2e3,
        2e3,
        3e3,
    ]


def test_an_entry_that_has_not_begun_lets_the_next_speak() -> None:
    pricer = Pricer(
        [override(model="m", input_mtok="9", start=date(2030, 1, 1)), override(model="m*", input_mtok="1")], UPSTREAMS
    )
    assert pricer.price(call("local"), reading("m", 1, 0)).cost_nusd == 1_000


def test_price_per_request_needs_an_answer_but_no_tokens() -> None:
    pricer = Pricer([override(upstream="local", model="*", per_request="0.001")], UPSTREAMS)
    assert pricer.price(call("local"), reading("sdxl")).cost_nusd == 1_000_000
    assert pricer.price(call("local"), reading("sdxl", 10, 10)).cost_nusd == 1_000_000
    for failure in (500, None):
        failed = reading("sdxl", http_status=failure, outcome=Outcome.UPSTREAM_ERROR)
        assert pricer.price(call("local"), failed).cost_nusd is None


def test_price_per_request_and_token_needs_the_tokens() -> None:
    pricer = Pricer([override(model="*", per_request="1", input_mtok="1", output_mtok="1")], UPSTREAMS)
    assert pricer.price(call(), reading("m", 1, 1)).cost_nusd == 1_000_002_000
    assert pricer.price(call(), reading("m")).cost_nusd is None


def test_maximum_is_billed_as_output_where_the_provider_does_so() -> None:
    pricer = Pricer([override(model="*", input_mtok="1", output_mtok="2", bill="max_tokens")], UPSTREAMS)
    assert pricer.price(call(), reading("m", 10, 5, max_tokens=100)).cost_nusd == 10_000 + 200_000
    assert pricer.price(call(), reading("m", 10, 5)).cost_nusd == 10_000 + 10_000
    assert pricer.price(call(), reading("m", max_tokens=100)).cost_nusd == 200_000
    failed = reading("m", max_tokens=100, http_status=500, outcome=Outcome.UPSTREAM_ERROR)
    assert pricer.price(call(), failed).cost_nusd is None


def test_cached_parts_have_their_own_price_or_the_inputs() -> None:
    split = Pricer([override(model="*", input_mtok="10", cache_read_mtok="1", cache_write_mtok="12")], UPSTREAMS)
    plain = Pricer([override(model="*", input_mtok="10")], UPSTREAMS)
    cached = reading("m", 100, 0, cache_read_tokens=60, cache_write_tokens=30)
    assert split.price(call(), cached).cost_nusd == (10 * 10 + 60 * 1 + 30 * 12) * 1000
    assert plain.price(call(), cached).cost_nusd == 1_000_000
    beyond = reading("m", 100, 0, cache_read_tokens=160, cache_write_tokens=30)
    assert split.price(call(), beyond).cost_nusd == 100 * 1000, "clamped to the total"


def test_money_is_rounded_once_and_to_even() -> None:
    pricer = Pricer([override(model="*", input_mtok="0.0005", output_mtok="0.0005")], UPSTREAMS)

    def cost(tokens_in: int, tokens_out: int) -> int | None:
        return pricer.price(call(), reading("m", tokens_in, tokens_out)).cost_nusd

    assert [cost(1, 0), cost(3, 0), cost(1, 1), cost(1, 2)] == [0, 2, 1, 2]


def test_a_tier_begins_behind_its_threshold_and_holds_for_the_whole_call(book: Pricer) -> None:
    def cost(tokens_in: int) -> int:
        return book.price(call("gemini"), reading("gemini-2.5-pro", tokens_in, 0)).cost_nusd or 0

    assert cost(200_000) == 200_000 * 1250
    assert cost(200_001) == 200_001 * 2500


def test_service_tier_changes_the_price_where_the_catalogue_knows_it(book: Pricer) -> None:
    def cost(tier: str | None) -> int | None:
        return book.price(call(), reading("gpt-5", 1_000_000, 0, service_tier=tier)).cost_nusd

    assert cost("flex") == cost(None) // 2  # type: ignore[operator]
    assert cost("priority") == cost(None) * 2  # type: ignore[operator]
    assert cost("default") == cost("no-such-tier") == cost(None)


def test_hour_long_cache_writes_and_searches_are_billed_as_such(book: Pricer) -> None:
    usage = {"cache_creation": {"ephemeral_1h_input_tokens": 1000}, "server_tool_use": {"web_search_requests": 2}}
    more = {"cache_write_tokens": 1000, "usage_source": UsageSource.PROVIDER}
    short = book.price(call("anthropic"), reading("claude-sonnet-4-5", 1000, 0, **more)).cost_nusd
    hour = book.price(call("anthropic"), reading("claude-sonnet-4-5", 1000, 0, raw_usage=usage, **more)).cost_nusd
    assert (short, hour) == (3_750_000, 6_000_000 + 20_000_000)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens_details": {"audio_tokens": 10**9}, "completion_tokens_details": {"audio_tokens": -5}},
        {"prompt_tokens_details": None, "server_tool_use": [], "promptTokensDetails": "x"},
        {"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 7}, None, {"modality": {}}, 5]},
        {"cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 70}]},
        {"server_tool_use": {"web_search_requests": True}},
    ],
)
@pytest.mark.parametrize(("name", "model"), [("openai", "gpt-audio"), ("gemini", "gemini-2.5-flash")])
def test_strange_usage_objects_cost_no_record(book: Pricer, usage: dict[str, Any], name: str, model: str) -> None:
    cost = book.price(call(name), reading(model, 100, 100, cache_read_tokens=50, raw_usage=usage))
    assert cost.cost_nusd is not None
    assert cost.cost_nusd > 0
    assert book.errors == 0


def test_a_fault_in_a_price_book_is_counted_and_costs_one_price(monkeypatch: pytest.MonkeyPatch) -> None:
    pricer = Pricer((), UPSTREAMS)

    def broken(*_: object, **__: object) -> None:
        raise LookupError("no prices today")

    monkeypatch.setattr("proxy.pricing._plain", broken)
    assert pricer.price(call(), reading("gpt-4o", 1, 1)) == Cost()
    assert pricer.errors == 1


def test_clients_cannot_make_the_price_book_grow(book: Pricer) -> None:
    snapshot = data_snapshot.get_snapshot()
    before = (len(snapshot._lookup_cache), len(snapshot._provider_cache), len(snapshot._provider_misses))
    for number in range(CACHE_SIZE + 500):
        book.price(call("groq"), reading(f"nonsense-{number}", 1, 1))
    assert (len(snapshot._lookup_cache), len(snapshot._provider_cache), len(snapshot._provider_misses)) == before
    assert book._entry.cache_info().currsize <= CACHE_SIZE
    assert book._candidates.cache_info().currsize <= CACHE_SIZE


def test_quotes_say_what_the_books_say(book: Pricer) -> None:
    mine = Pricer([override(upstream="local", model="m", input_mtok="0.05")], UPSTREAMS)
    quote = mine.quote("local", "m", NOW)
    assert quote is not None
    assert (quote.source, quote.price_id, quote.amounts) == ("override", "override 1 local/m", {"input_mtok": "0.05"})
    listed = book.quote("openai", "gpt-3.5-turbo", NOW)
    assert listed is not None
    assert listed.amounts == {"input_mtok": "0.5", "output_mtok": "1.5"}
    assert book.quote("local", "m", NOW) is None
    tiered = book.quote("gemini", "gemini-2.5-pro", NOW)
    assert tiered is not None
    assert "above 200000" in tiered.amounts["input_mtok"]


counts = st.integers(0, 3_000_000)


@settings(max_examples=60, deadline=None)
@given(tokens_in=counts, tokens_out=counts, read=st.integers(0, 10**6), write=st.integers(0, 10**6))
def test_every_model_of_the_catalogue_costs_what_the_catalogue_says(
    tokens_in: int, tokens_out: int, read: int, write: int
) -> None:
    """Against `ModelPrice.calc_price`, over a rotating slice of all models."""
    read = min(read, tokens_in)
    write = min(write, tokens_in - read)
    usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out, cache_read_tokens=read, cache_write_tokens=write)
    prices = [price for number, price in enumerate(PRICES) if number % 29 == (tokens_in + tokens_out) % 29]
    for pricer, name, price in prices:
        cost = pricer.price(
            call(name), reading("m", tokens_in, tokens_out, cache_read_tokens=read, cache_write_tokens=write)
        )
        expected = (price.calc_price(usage)["total_price"] * 10**9).to_integral_value(ROUND_HALF_EVEN)
        assert cost.cost_nusd == expected, price


def _every_price() -> list[tuple[Pricer, str, ModelPrice]]:
    from proxy.pricing import _Entry

    found = []
    for provider in data_snapshot.get_snapshot().providers:
        for model in provider.models:
            variants = [model.prices] if isinstance(model.prices, ModelPrice) else [p.prices for p in model.prices]
            for price in variants:
                if {"input_mtok", "output_mtok"} <= price.__dict__.keys():
                    pricer = Pricer((), {"one": upstream("openai")})
                    fixed = type(model)(id="m", match=model.match, prices=price)
                    pricer._entry = lambda *_, entry=_Entry(provider, fixed): entry  # type: ignore[assignment]
                    found.append((pricer, "one", price))
    return found


PRICES = _every_price()


def test_the_oracle_sees_most_of_the_catalogue() -> None:
    assert len(PRICES) > 2_000


@given(rate=st.decimals(0, 1000, places=4), tokens_in=counts, tokens_out=counts, part=st.fractions(0, 1))
def test_an_override_is_plain_arithmetic(rate: Decimal, tokens_in: int, tokens_out: int, part: Any) -> None:
    cached = int(tokens_in * part)
    keys = {"input_mtok": rate, "output_mtok": rate * 3, "cache_read_mtok": rate / 2}
    pricer = Pricer([override(model="*", **keys)], {})
    cost = pricer.price(call(), reading("m", tokens_in, tokens_out, cache_read_tokens=cached))
    dollars = (rate * (tokens_in - cached) + rate / 2 * cached + rate * 3 * tokens_out) / 10**6
    assert cost.cost_nusd == (dollars * 10**9).to_integral_value(ROUND_HALF_EVEN)
