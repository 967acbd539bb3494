"""Call ids: UUIDv7, in order whatever the clock does."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from random import Random

from hypothesis import given, strategies as st

from proxy.call_ids import CallIds

NOW = 1_795_000_000_123_456_789

clocks = st.lists(st.integers(0, 2**61), min_size=1, max_size=50)


def ids_of(times: list[int], bits: int = 2**62 - 1) -> list[str]:
    clock: Iterator[int] = iter(times)
    made = CallIds(lambda: next(clock), lambda count: bits >> (62 - count))
    return [made.next() for _ in times]


@given(clocks, st.integers(0, 2**62 - 1))
def test_ids_are_version_7_and_parse_as_themselves(times: list[int], bits: int) -> None:
    for text in ids_of(times, bits):
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)


@given(clocks)
def test_ids_increase_under_any_clock(times: list[int]) -> None:
    """Even with the worst random bits: a clock that stands still, jumps back or jumps about."""
    made = ids_of(times)
    assert made == sorted(set(made))


@given(st.integers(0, 2**61))
def test_an_id_tells_when_it_was_made(now: int) -> None:
    assert uuid.UUID(ids_of([now])[0]).int >> 80 == now // 1_000_000


def test_the_fraction_of_the_millisecond_is_in_the_id() -> None:
    early, late = (uuid.UUID(ids_of([NOW // 1_000_000 * 1_000_000 + rest])[0]).int >> 64 for rest in (0, 999_999))
    assert late - early == 4095


def test_a_frozen_clock_runs_on_into_the_next_milliseconds() -> None:
    made = ids_of([NOW] * 10_000)
    assert made == sorted(set(made))
    assert (uuid.UUID(made[-1]).int >> 80) - (uuid.UUID(made[0]).int >> 80) in (2, 3)


def test_a_clock_that_went_back_is_waited_for() -> None:
    made = ids_of([NOW, NOW - 10**9, NOW - 10**9, NOW + 10**7])
    assert made == sorted(set(made))
    assert uuid.UUID(made[-1]).int >> 80 == (NOW + 10**7) // 1_000_000


@given(st.integers(0, 2**62 - 1))
def test_all_bits_that_may_be_random_are(bits: int) -> None:
    assert uuid.UUID(ids_of([NOW], bits)[0]).int & (2**62 - 1) == bits


def test_two_processes_with_the_same_clock_make_different_ids() -> None:
    one, other = (CallIds(lambda: NOW, Random().getrandbits) for _ in range(2))
    assert not {one.next() for _ in range(1000)} & {other.next() for _ in range(1000)}


def test_with_the_real_clock_the_time_is_the_real_one() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(CallIds(time.time_ns, Random().getrandbits).next())
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000
