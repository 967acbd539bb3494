"""Call ids: UUIDv7 (RFC 9562 section 5.7), sortable by time and never decreasing within a process."""

from __future__ import annotations

from collections.abc import Callable


class CallIds:
    """Makes ids from a wall clock in nanoseconds and a source of random bits, both handed in.

    Ids are names, not secrets: a generator seeded by the system (0.1 µs) serves as well as a system call (1.5 µs).
    """

    def __init__(self, clock_ns: Callable[[], int], random_bits: Callable[[int], int]) -> None:
        self._clock_ns = clock_ns
        self._random_bits = random_bits
        self._last = 0

    def next(self) -> str:
        """The next id in its 36-character form.

        The 12 bits behind the version hold the fraction of the millisecond (method 3 of section 6.2), so ids made
        within 244 ns of each other, or after the clock went back, take the next free value instead.
        """
        milliseconds, rest = divmod(self._clock_ns(), 1_000_000)
        stamp = (milliseconds << 12) | (rest * 4096 // 1_000_000)
        if stamp <= self._last:
            stamp = self._last + 1
        self._last = stamp
        # Two short numbers, as arithmetic on one of 128 bits costs twice as much.
        time, low = f"{stamp >> 12:012x}", f"{1 << 63 | self._random_bits(62):016x}"
        return f"{time[:8]}-{time[8:]}-7{stamp & 0xFFF:03x}-{low[:4]}-{low[4:]}"
