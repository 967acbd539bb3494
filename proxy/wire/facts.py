"""What the frames of one answer have said so far: the state that every wire format's reader folds into.

Holds values only as the provider gave them; `usage` reconciles the counts at the end.
"""

from __future__ import annotations

from typing import Any

MAX_TEXT = 4 << 20
"""Characters of output kept for an estimate: ten times the longest answer that any model gives."""
MAX_LANES = 32
"""Choices (`n`) whose text is kept apart."""
BLOCK = 256
"""Pieces of text joined at once: a token each, which as objects of their own would weigh ten times the text."""
NAME_LENGTH = 256
"""Longer names are cut: model names and ids come from outside and go into rows and labels."""


class Speech:
    """Text that comes in small pieces."""

    __slots__ = ("_blocks", "_pieces")

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        """Go on with the next piece."""
        self._pieces.append(text)
        if len(self._pieces) == BLOCK:
            self._blocks.append("".join(self._pieces))
            self._pieces.clear()

    def whole(self) -> str:
        """All of it."""
        return "".join((*self._blocks, *self._pieces))


class Facts:
    """Everything read of one answer. Readers set the fields; the first fault wins."""

    __slots__ = (
        "_lanes",
        "_room",
        "error_type",
        "fault",
        "finish_reason",
        "named",
        "provisional",
        "response_id",
        "response_model",
        "service_tier",
        "spare_usage",
        "spoken",
        "terminal",
        "text",
        "usage",
        "vectors",
    )

    def __init__(self) -> None:
        self.named = False
        """The answer's model name is known, so the head of further events need not be read."""
        self.response_model: str | None = None
        self.response_id: str | None = None
        self.service_tier: str | None = None
        self.finish_reason: str | None = None
        self.error_type: str | None = None
        self.terminal = False
        """The event after which nothing more belongs to the answer has passed."""
        self.usage: dict[str, Any] | None = None
        self.spare_usage: dict[str, Any] | None = None
        """Counts from another place (llama.cpp's `timings`, headers), used when no usage came."""
        self.provisional = False
        """The output count in `usage` is a placeholder (Anthropic's message_start)."""
        self.vectors = False
        """The answer is made of vectors: there is no output to count."""
        self.fault: str | None = None
        self.text = Speech()
        self._room = MAX_TEXT
        self._lanes: dict[int, Speech] | None = None
        self.spoken = False
        """Some text of the answer was heard."""

    def say(self, text: str) -> None:
        """Keep output text for an estimate."""
        self._room -= len(text)
        if self._room >= 0:
            self.text.add(text)
            self.spoken = True

    def say_in(self, lane: Any, text: str) -> None:
        """Keep output text of one of several choices, which come interleaved."""
        if not lane or type(lane) is not int or not 0 < lane < MAX_LANES:
            self.say(text)
            return
        if self._lanes is None:
            self._lanes = {}
        self._room -= len(text)
        if self._room >= 0:
            self._lanes.setdefault(lane, Speech()).add(text)
            self.spoken = True

    @property
    def several(self) -> bool:
        """More than one choice has spoken."""
        return self._lanes is not None

    def output(self) -> str:
        """All output text, choice after choice."""
        lanes = self._lanes or {}
        return "\n".join((self.text.whole(), *(lanes[lane].whole() for lane in sorted(lanes))))

    def flaw(self, what: str) -> None:
        """Something could not be read as its format says. The first one is kept."""
        if self.fault is None:
            self.fault = what

    def count(self, usage: Any) -> None:
        """Take a usage object. Repeated ones are cumulative everywhere: field by field the last non-null wins."""
        if type(usage) is not dict:
            if usage is not None:
                self.flaw("usage_type")
        elif self.usage is None:
            self.usage = usage
        else:
            self.usage = merged(self.usage, usage)

    def name(self, model: Any, response_id: Any) -> None:
        """Take the answer's names, the first non-empty of each (Azure's first chunk says `model: ""`)."""
        if not self.named and type(model) is str and model:
            self.response_model = model[:NAME_LENGTH]
            self.named = True
        if self.response_id is None and type(response_id) is str and response_id:
            self.response_id = response_id[:NAME_LENGTH]

    def finish(self, reason: Any) -> None:
        """Take a finish reason; null and Livepeer's empty string mean that it goes on."""
        if reason and type(reason) is str:
            self.finish_reason = reason[:64]

    def tier(self, tier: Any) -> None:
        """Take the service tier that the answer was billed at."""
        if tier and type(tier) is str:
            self.service_tier = tier[:64]


def merged(old: dict[str, Any], new: dict[str, Any], depth: int = 3) -> dict[str, Any]:
    """Field by field the last non-null value."""
    both = dict(old)
    for key, value in new.items():
        before = both.get(key)
        if type(value) is dict and type(before) is dict and depth:
            both[key] = merged(before, value, depth - 1)
        elif value is not None:
            both[key] = value
    return both
