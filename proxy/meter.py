"""The meter: reads one exchange as it passes. Bytes and times are handed in; nothing comes out but the `Reading`.

A pure fold with no socket, no clock and no log. Misuse by us raises `MeterMisuse`; whatever client or upstream send
only sets `reading.meter_fault` (the first one wins) and reading goes on, because usage often comes last. Any cutting
of the bytes, in any content coding, gives the same Reading, times aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from proxy.estimates import EstimateJob, apply_estimate
from proxy.framing import Frame, Framer, Marked, Opaque
from proxy.framing.concat import split
from proxy.framing.inflate import BadCoding, Inflater, codings, inflate, inflater
from proxy.framing.salvage import salvage
from proxy.framing.sniff import Sniffer
from proxy.tally import tally, wants_estimate
from proxy.wire import FORMATS, OPAQUE, Read, path_model
from proxy.wire.errors import OTHER, fail
from proxy.wire.facts import MAX_TEXT, Facts
from proxy.wire.generic import read as read_generic
from proxy.wire.heads import Heads, read_heads
from proxy.wire.llmstudio import trailer
from proxy.wire.request import NOTHING, Prompt, asked, parse, prompt
from store.record import Outcome, Reading

MAX_REQUEST = 8 << 20
"""Decoded bytes of a request that are read; longer ones are read by their head and tail."""

KEPT_REQUEST = 256 << 10
"""Of a longer request only its text is kept for an estimate: what makes requests long is base64."""

_loads = orjson.loads
_OK, _UPSTREAM_ERROR, _CLIENT_CLOSED = Outcome.OK, Outcome.UPSTREAM_ERROR, Outcome.CLIENT_CLOSED
"""An attribute of an Enum class costs 0.1 µs each time."""
_NO_HEADS = Heads()
_OPAQUE = Opaque()
_BROKEN_OFF = frozenset({Outcome.UPSTREAM_CUT, Outcome.CLIENT_CLOSED, Outcome.TIMEOUT, Outcome.INTERRUPTED})


class MeterMisuse(Exception):
    """weir called its own meter in the wrong order."""


class Meter:
    """One exchange's meter: `request`, `response`, `feed` …, `finish`."""

    __slots__ = (
        "_at",
        "_body",
        "_chunks",
        "_closed",
        "_content_events",
        "_content_first",
        "_content_last",
        "_cut_off",
        "_facts",
        "_first_chunk",
        "_format",
        "_framer",
        "_heads",
        "_inflater",
        "_path",
        "_raw_text",
        "_raw_text_size",
        "_read",
        "_request",
        "_response_bytes",
        "_several",
        "_sniffing",
        "_started",
        "_status",
        "finished",
        "needs_estimate",
    )

    def __init__(self, *, wire_format: str, path: str, started: float) -> None:
        self._format = FORMATS.get(wire_format, OPAQUE)
        self._read = self._format.read or _read_nothing
        self._path = path
        self._started = self._at = self._content_last = started
        self._facts = Facts()
        self._request = NOTHING
        self._body: bytes | Prompt | None = None
        self._status: int | None = None
        self._heads = _NO_HEADS
        self._framer: Framer = _OPAQUE
        self._sniffing = False
        self._inflater: Inflater | None = None
        self._response_bytes = self._chunks = self._content_events = self._raw_text_size = 0
        self._first_chunk: float | None = None
        self._content_first: float | None = None
        self._raw_text: list[bytes] | None = None
        self._several = self._closed = self._cut_off = False
        self.finished: Reading | None = None
        """The whole reading, after `finish`."""
        self.needs_estimate = False
        """After `finish`: some counts are missing and there is text to count."""

    def request(
        self, body: bytes | None, *, content_type: str = "", content_encoding: str = "", truncated: bool = False
    ) -> None:
        """Take a copy of the request's body, as sent; `truncated` when the copy is only its first part."""
        if body and content_encoding:
            body = inflate(body, content_encoding, MAX_REQUEST)
            truncated = truncated or (body is not None and len(body) >= MAX_REQUEST)
        if not body:
            return
        self._request = asked(body, content_type, truncated=truncated)
        if not truncated:
            self._body = body if len(body) <= KEPT_REQUEST else prompt(body)

    def response(self, status: int, headers: list[tuple[bytes, bytes]], *, at: float) -> None:
        """The answer's head has come."""
        self._status = status
        self._at = at
        self._heads = heads = read_heads(headers)
        if self._format.read is None:
            self._framer = Opaque(streamed=Sniffer(heads.content_type).streamed)
            return
        if heads.content_encoding and codings(heads.content_encoding):
            self._inflater = inflater(heads.content_encoding)
            if self._inflater is None:
                self._facts.flaw("unknown_coding")
                self._framer = Opaque(streamed=Sniffer(heads.content_type).streamed)
                return
        self._sniffing = True
        self._framer = Sniffer(
            heads.content_type,
            failed=status >= 400,
            sized=heads.sized,
            array=self._format.name == "gemini",
            bare_text=self._format.name == "llmstudio" and not heads.content_type and not heads.sized,
        )

    def feed(self, data: bytes, *, at: float, chunks: int = 1) -> None:
        """Body bytes as they passed: HTTP framing undone, content coding not. Nothing in them makes this raise."""
        if self._closed or self._status is None:
            raise MeterMisuse("feed() before response() or after finish()")
        self._at = at
        self._chunks += chunks
        self._response_bytes += len(data)
        if not data:
            return
        if self._first_chunk is None:
            self._first_chunk = at
        try:
            if self._inflater is not None:
                self._decode(data, at)
                return
            frames = self._framer.feed(data)
            if frames:
                self._fold(frames, at)
            if self._sniffing:
                self._settle()
        except Exception as error:  # noqa: BLE001  # the water flows on, and the row says that its meter broke
            self._give_up(error)

    def finish(self, outcome: str, *, at: float) -> Reading:
        """The exchange is over, as the carrier saw it; returns the whole reading."""
        if self._closed:
            raise MeterMisuse("finish() twice")
        self._closed = True
        self._cut_off = outcome in _BROKEN_OFF
        try:
            self._fold(self._framer.close(), self._at)
            self._end_text()
        except Exception as error:  # noqa: BLE001  # as in feed()
            self._give_up(error)
        reading = self.finished = self._reading(self._verdict(outcome), at)
        if self._format.read is not None and self._status is not None and self._status < 400:
            asked = self._body is not None
            self.needs_estimate = wants_estimate(reading, self._facts, vectors=self._vectors, asked=asked)
        return reading

    def snapshot(self, *, at: float) -> Reading:
        """What a reading of the call still running would say if its worker died now."""
        return self._reading(Outcome.INTERRUPTED, at)

    def estimate_job(self, mode: str = "chat") -> EstimateJob:
        """What has to be counted to fill the gaps of the finished reading; `mode` is the upstream's `estimate`."""
        reading = self.finished
        if reading is None:
            raise MeterMisuse("estimate_job() before finish()")
        return EstimateJob(
            reading.request_model or reading.response_model or "",
            mode,
            self._body if reading.input_tokens is None else None,
            self._facts.output() if reading.output_tokens is None and self._facts.spoken else None,
        )

    apply_estimate = staticmethod(apply_estimate)

    def _settle(self) -> None:
        framer = self._framer.framer if isinstance(self._framer, Sniffer) else None
        if framer is not None:
            self._framer = framer
            self._sniffing = False

    def _decode(self, data: bytes, at: float) -> None:
        try:
            for piece in self._inflater.feed(data) if self._inflater is not None else ():
                self._fold(self._framer.feed(piece), at)
                if self._sniffing:
                    self._settle()
        except BadCoding as error:
            self._facts.flaw(str(error))
            self._fold(self._framer.close(), at)
            self._stop_reading()

    def _stop_reading(self) -> None:
        """Read no more; whether it was a stream is known already."""
        self._framer = Opaque(streamed=self._framer.streamed)
        self._sniffing = False
        self._inflater = None

    def _give_up(self, error: Exception) -> None:
        self._facts.flaw(f"meter_{type(error).__name__}")
        self._stop_reading()

    def _fold(self, frames: Sequence[Frame], at: float) -> None:
        facts = self._facts
        read = self._read
        for frame in frames:
            try:
                event = _loads(frame)  # type: ignore[arg-type]  # a Marked is refused as ValueError, like bad JSON
            except ValueError:
                self._odd(frame, at)
                continue
            if type(event) is not dict:
                self._values(event, at)
            elif read(event, facts):
                self._content_events += 1
                self._content_last = at
                if self._content_first is None:
                    self._content_first = at

    def _event(self, event: dict[str, Any], at: float, read: Read | None = None) -> None:
        if (read or self._read)(event, self._facts):
            self._spoke(at)

    def _spoke(self, at: float) -> None:
        self._content_events += 1
        self._content_last = at
        if self._content_first is None:
            self._content_first = at

    def _values(self, value: Any, at: float) -> None:
        """JSON that is no object: a list of objects is read one by one (TGI's whole answer)."""
        events = [event for event in value if type(event) is dict] if type(value) is list else []
        for event in events:
            self._event(event, at)
        if not events:
            self._flaw("not_object")

    def _odd(self, frame: Frame, at: float) -> None:
        """A frame that orjson refused: marked, the end of a stream, or JSON that is not quite JSON."""
        if isinstance(frame, Marked):
            self._marked(frame, at)
            return
        text = frame.strip()
        if text[:1] == b"[" and text[1:].lstrip().startswith(b"DONE"):
            self._facts.terminal = True
        elif text:
            value = parse(text)
            if type(value) is dict:
                self._event(value, at)
            elif value is not None:
                self._values(value, at)
            else:
                self._broken(text, at)

    def _marked(self, frame: Marked, at: float) -> None:
        if frame.kind == "fault":
            self._flaw(frame.data.decode())
        elif frame.kind == "text":
            self._keep_text(frame.data, at)
        elif frame.kind == "salvage":
            self._event(parse(frame.data) or {}, at, read_generic)
        else:
            value = parse(frame.data)
            error = value if type(value) is dict else {}
            fail(self._facts, error.get("error") or error, error)

    def _broken(self, frame: bytes, at: float) -> None:
        """Not JSON. Several objects in one frame are; of the rest, usage is saved where it can be."""
        pieces = split(frame)
        if (len(pieces) == 1 and pieces[0] == frame) or not pieces:
            found = parse(salvage(frame, frame))
            if found:
                self._event(found, at, read_generic)
            self._flaw("bad_json")
            return
        self._several = self._several or len(pieces) > 1
        for piece in pieces:
            value = parse(piece) if isinstance(piece, bytes) and not isinstance(piece, Marked) else None
            if type(value) is dict:
                self._event(value, at)
            elif isinstance(piece, Marked):
                self._marked(piece, at)
            else:
                self._broken(piece, at)

    def _flaw(self, what: str) -> None:
        """Note what is not as it should be; that a broken-off answer ends in a broken frame is no news."""
        if not self._cut_off:
            self._facts.flaw(what)

    def _keep_text(self, data: bytes, at: float) -> None:
        if self._raw_text is None:
            self._raw_text = []
        self._raw_text_size += len(data)
        if self._raw_text_size <= MAX_TEXT:
            self._raw_text.append(data)
        self._spoke(at)

    def _end_text(self) -> None:
        if self._raw_text is not None:
            text = b"".join(self._raw_text).decode("utf-8", "replace")
            self._facts.say(trailer(text, self._facts))
            self._content_events = self._chunks  # one delta per HTTP chunk is all that frames it

    def _verdict(self, outcome: str) -> str:
        failed = self._status is not None and self._status >= 400
        if outcome == _OK and failed:
            return _UPSTREAM_ERROR
        if outcome in (_OK, _CLIENT_CLOSED) and not failed:
            if self._facts.error_type is not None:
                return Outcome.STREAM_ERROR
            return _OK if self._facts.terminal else outcome
        return outcome

    def _reading(self, outcome: str, at: float) -> Reading:
        facts, heads = self._facts, self._heads
        reading = Reading(outcome=outcome)
        reading.error_type = self._error_type(outcome)
        reading.request_model = self._request.model or path_model(self._path)
        reading.max_tokens = self._request.max_tokens
        reading.duration_us = int((at - self._started) * 1e6 + 0.5)
        reading.meter_fault = facts.fault
        if self._status is None:
            return reading
        reading.http_status = self._status
        reading.response_model = facts.response_model
        reading.response_id = facts.response_id
        reading.service_tier = facts.service_tier
        reading.finish_reason = facts.finish_reason
        reading.upstream_request_id = heads.request_id
        reading.reported_cost_nusd = heads.cost_nusd
        reading.credits_remaining = heads.credits
        reading.chunks = self._chunks
        reading.content_events = self._content_events
        reading.response_bytes = self._response_bytes
        reading.stream = self._framer.streamed or self._several
        self._time(reading)
        usage = facts.usage or facts.spare_usage or heads.usage
        if usage:
            tally(reading, usage, facts, vectors=self._vectors)
        return reading

    @property
    def _vectors(self) -> bool:
        return self._facts.vectors or self._format.operation == "embeddings"

    def _time(self, reading: Reading) -> None:
        if self._first_chunk is not None:
            reading.first_chunk_us = int((self._first_chunk - self._started) * 1e6 + 0.5)
        first = self._content_first
        if reading.stream and first is not None:
            reading.ttft_us = int((first - self._started) * 1e6 + 0.5)
            if self._content_events > 1:
                reading.inter_token_us = int((self._content_last - first) / (self._content_events - 1) * 1e6 + 0.5)

    def _error_type(self, outcome: str) -> str | None:
        named = self._facts.error_type
        if outcome == _UPSTREAM_ERROR and named in (None, OTHER):
            return f"http_{self._status}"
        return named


def _read_nothing(event: dict[str, Any], facts: Facts) -> bool:
    return False
