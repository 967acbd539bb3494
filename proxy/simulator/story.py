"""What the simulated model says: text and token counts, made from the seed and the request alone.

One piece of text is one token, as most providers stream it. Counts have the meaning that they have in weir's ledger:
all input with its cached parts, all output with its reasoning; each API file writes them as its provider does. Pure.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from proxy.simulator.steering import Steering

CREATED = 1_790_000_000
"""The creation time in every answer: a constant, because the same request has to give the same answer."""

PLAIN = """
water river stone weir bridge flow meter level stream bank gate mill wheel pool lock reed otter heron trout current
measures carries slows turns passes counts holds opens rises falls quietly always never below above between because
and the a this every naïve café Größe ☕ 水 🦦
"""
WORDS = (*PLAIN.split(), '"quoted"', "<b>&amp;</b>", "back\\slash", "new\nline")
"""With quotes, markup, accents and characters of 2, 3 and 4 bytes, so that nothing downstream gets an easy life."""

ONLY_FORM = frozenset({"stream", "stream_options", "is_stream", "metadata"})
"""Body keys that change how an answer is sent, not what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request as far as the simulator understands it."""

    model: str
    prompt: str
    stream: bool = False
    limit: int | None = None
    usage_asked: bool = True
    """False where the provider reports usage in a stream only when asked, and was not asked."""
    inputs: int = 1
    """How many texts to embed."""
    speaks: bool = True
    """False for embeddings and the like: nothing is said, and no output is counted."""
    body: Mapping[str, Any] = field(default_factory=dict)
    dialect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Token counts of one answer."""

    input_tokens: int
    output_tokens: int
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    @property
    def spoken(self) -> int:
        """Output without reasoning."""
        return self.output_tokens - self.reasoning


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model says to one `Ask`."""

    ident: str
    """32 hex digits; each API puts its own prefix in front."""
    ask: Ask
    pieces: tuple[str, ...]
    thoughts: tuple[str, ...]
    counts: Counts
    cut_short: bool
    """True if the request's output limit ended the text."""
    show_usage: bool

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return self.ask.model

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)


def tell(seed: int, ask: Ask, steering: Steering) -> Answer:
    """The answer to a request: always the same one for the same seed, request and tag."""
    ident = _fingerprint(seed, ask, steering.tag)
    rng = random.Random(ident)
    counts, cut_short = _count(rng, ask, steering)
    return Answer(
        ident=ident,
        ask=ask,
        pieces=_pieces(rng, counts.spoken),
        thoughts=_pieces(rng, counts.reasoning),
        counts=counts,
        cut_short=cut_short,
        show_usage=steering.fault.kind != "no-usage" and (ask.usage_asked or not ask.stream),
    )


def vector(answer: Answer, index: int, size: int) -> list[float]:
    """An embedding of the given size, each number with an exact 32-bit form."""
    rng = random.Random(f"{answer.ident}/{index}")
    return [rng.randint(-1024, 1024) / 1024 for _ in range(size)]


def _fingerprint(seed: int, ask: Ask, tag: str) -> str:
    body = {key: value for key, value in ask.body.items() if key not in ONLY_FORM}
    said = orjson.dumps([seed, tag, ask.model, ask.prompt, body], option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(said, digest_size=16).hexdigest()


def _count(rng: random.Random, ask: Ask, steering: Steering) -> tuple[Counts, bool]:
    output, cut_short = _output(rng.randint(8, 40), ask, steering)
    cached, cache_write = steering.cached or 0, steering.cache_write or 0
    given = steering.tokens_in
    if given is None:
        given = 3 + len(ask.prompt.encode()) // 4 + cached + cache_write
    counts = Counts(
        input_tokens=max(given, cached + cache_write),
        output_tokens=output,
        cached=cached,
        cache_write=cache_write,
        reasoning=min(steering.reasoning or 0, output),
    )
    return counts, cut_short


def _output(wanted: int, ask: Ask, steering: Steering) -> tuple[int, bool]:
    """How many tokens come out, and whether the limit cut them. A steered number stands above the limit."""
    if not ask.speaks:
        return 0, False
    if steering.tokens_out is not None:
        return steering.tokens_out, False
    wanted += steering.reasoning or 0
    cut_short = ask.limit is not None and wanted > ask.limit
    return (ask.limit if cut_short and ask.limit is not None else wanted), cut_short


def _pieces(rng: random.Random, count: int) -> tuple[str, ...]:
    words = rng.choices(WORDS, k=count)
    return tuple(word if index == 0 else " " + word for index, word in enumerate(words))
