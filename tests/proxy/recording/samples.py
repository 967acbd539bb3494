"""Calls, readings and journals for the recorder's tests, made from a seed so that a failure can be looked at again."""

from __future__ import annotations

import random
import uuid
from pathlib import Path
from typing import Any

from store.journal import JournalWriter
from store.record import Call, CallRecord, Cost, Outcome, Reading, UsageSource

START = 1_795_000_000_000_000
BOOT = "a" * 32
OUTCOMES = (Outcome.OK, Outcome.OK, Outcome.OK, Outcome.UPSTREAM_ERROR, Outcome.CLIENT_CLOSED, Outcome.REJECTED)


def make_call(seq: int = 1, boot_id: str = BOOT, **more: Any) -> Call:
    values = {
        "call_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{boot_id}/{seq}")),
        "boot_id": boot_id,
        "seq": seq,
        "started_at": START + seq * 1000,
        "method": "POST",
        "path": "/v1/chat/completions",
        "upstream": "openai",
        "provider": "openai",
        "operation": "chat",
        "wire_format": "openai.chat",
        "session_id": f"session-{seq % 5}",
        "session_source": "header",
        "project": "search",
    }
    return Call(**(values | more))  # type: ignore[arg-type]


def make_reading(**more: Any) -> Reading:
    values = {
        "outcome": Outcome.OK,
        "http_status": 200,
        "request_model": "gpt-3.5-turbo",
        "response_model": "gpt-3.5-turbo-0125",
        "stream": True,
        "input_tokens": 6,
        "output_tokens": 26,
        "usage_source": UsageSource.PROVIDER,
        "duration_us": 1_300_000,
        "ttft_us": 300_000,
        "overhead_us": 400,
    }
    return Reading(**(values | more))


def make_record(call: Call | None = None, reading: Reading | None = None, **cost: Any) -> CallRecord:
    return CallRecord(call or make_call(), reading or make_reading(), Cost(**cost))


class Traffic:
    """A worker's journal, and every call that went into it."""

    def __init__(self, root: Path, boot_id: str = BOOT, *, seed: int = 1, segment_bytes: int = 1 << 14) -> None:
        self.boot_id = boot_id
        self.calls: dict[int, Call] = {}
        self.ended: dict[int, Reading] = {}
        self.writer = JournalWriter(root, boot_id, segment_bytes=segment_bytes)
        self._chance = random.Random(seed)

    def begin(self, **more: Any) -> Call:
        seq = len(self.calls) + 1
        call = make_call(seq, self.boot_id, project=self._chance.choice(("", "search", "chat")), **more)
        self.calls[seq] = call
        self.writer.intent(call)
        return call

    def progress(self, call: Call) -> None:
        self.writer.progress(call, make_reading(outcome=Outcome.WEIR_FAULT, output_tokens=3))

    def end(self, call: Call, reading: Reading | None = None) -> None:
        self.ended[call.seq] = reading or self.some_reading()
        self.writer.outcome(call, self.ended[call.seq])

    def carry(self, count: int) -> None:
        for _ in range(count):
            self.end(self.begin())

    def some_reading(self) -> Reading:
        """Models with and without a price, tokens with and without cached parts, answers and failures."""
        pick = self._chance
        outcome = pick.choice(OUTCOMES)
        failed = outcome in (Outcome.UPSTREAM_ERROR, Outcome.REJECTED)
        tokens = None if failed else pick.randrange(10_000)
        return make_reading(
            outcome=outcome,
            http_status=429 if failed else 200,
            request_model=pick.choice(("gpt-3.5-turbo", "gpt-4o", "no-such-model")),
            response_model=None,
            input_tokens=tokens,
            output_tokens=None if tokens is None else pick.randrange(5_000),
            cache_read_tokens=None if tokens is None else pick.choice((None, tokens // 3, tokens * 2)),
            reasoning_tokens=None if tokens is None else pick.choice((None, 7)),
            usage_source=UsageSource.NONE if tokens is None else pick.choice(list(UsageSource)[:3]),
            duration_us=pick.randrange(1, 10**8),
        )

    def die(self) -> None:
        """What the kernel does when the worker is killed: the lock goes, nothing else is written."""
        import os

        os.close(self.writer._lock)
        os.close(self.writer._fd)
