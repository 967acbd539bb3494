"""Frames: any record comes back as it was, or cleaned where JSON has no word for it; any bytes are survived."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from store.journal import Entry, Gap, Kind, Position
from store.journal.frames import (
    HEADER,
    MAX_PAYLOAD,
    Decoder,
    encode,
    gap_frame,
    intent_frame,
    reading_frame,
    schema_frame,
    split,
)
from store.record import CALL_FIELDS, READING_FIELDS, Call, Reading
from tests.store.journal.shims import a_call, a_reading

HERE = Position(1, 0)
any_text = st.text(st.characters(exclude_categories=()), max_size=30)
plain_text = st.text(max_size=30)


def decode(frame: bytes | None, decoder: Decoder | None = None) -> Entry | None:
    assert frame is not None
    [(kind, start, end, at)] = split(frame, True)
    assert kind is not None and at == len(frame)
    return (decoder or Decoder()).entry(kind, memoryview(frame)[start:end], HERE)


def cleaned(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | plain_text
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_text, inner, max_size=3),
    max_leaves=8,
)


@given(plain_text, plain_text, st.dictionaries(plain_text, plain_text, max_size=3), json_values)
def test_a_record_comes_back_as_it_was(path: str, model: str, tags: dict[str, str], usage: Any) -> None:
    call = a_call(project=path, tags=tags, session_id=model)
    reading = a_reading(request_model=model, raw_usage={"x": usage}, credits_remaining=0.5, stream=True)
    assert decode(intent_frame(call)) == Entry(Kind.INTENT, call, None, None, HERE)
    for kind in (Kind.OUTCOME, Kind.PROGRESS):
        assert decode(reading_frame(kind, call, reading)) == Entry(kind, call, reading, None, HERE)


@given(any_text, any_text, any_text, any_text)
def test_text_that_is_no_unicode_is_cleaned_and_costs_no_record(a: str, b: str, c: str, d: str) -> None:
    """JSON may bring lone surrogates (`"\\ud800"`), which orjson refuses to write."""
    entry = decode(reading_frame(Kind.OUTCOME, a_call(project=a, tags={b: c}), a_reading(raw_usage={a: [d, {b: c}]})))
    assert entry is not None and entry.call is not None and entry.reading is not None
    assert (entry.call.project, entry.call.tags) == (cleaned(a), {cleaned(b): cleaned(c)})
    assert entry.reading.raw_usage == {cleaned(a): [cleaned(d), {cleaned(b): cleaned(c)}]}
    intent = decode(intent_frame(a_call(user_id=d)))
    assert intent is not None and intent.call is not None and intent.call.user_id == cleaned(d)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (10**40, None),
        (-(10**40), None),
        (2**63 - 1, 2**63 - 1),
        (float("nan"), None),
        (float("inf"), None),
        (b"bytes", None),
        ({1: {None: 2}}, {"1": {"None": 2}}),
        ({"a": (1, {2})}, {"a": [1, None]}),
    ],
)
def test_a_value_that_json_has_no_word_for_is_unknown(value: Any, kept: Any) -> None:
    reading = a_reading(raw_usage={"x": value, "y": "\ud800"}, total_tokens=5)
    entry = decode(reading_frame(Kind.OUTCOME, a_call(), reading))
    assert entry is not None and entry.reading is not None
    assert (entry.reading.raw_usage, entry.reading.total_tokens) == ({"x": kept, "y": "\ufffd"}, 5)


def test_a_usage_object_without_bottom_is_cut_off() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    entry = decode(reading_frame(Kind.OUTCOME, a_call(), a_reading(raw_usage=deep)))
    assert entry is not None and entry.reading is not None and entry.reading.input_tokens == 7


def test_a_frame_that_is_too_large_sheds_raw_usage_and_tags() -> None:
    call = a_call(tags={"a": "b"}, project="p")
    reading = a_reading(raw_usage={"x": "y" * MAX_PAYLOAD}, request_model="m")
    frame = reading_frame(Kind.OUTCOME, call, reading)
    assert frame is not None and len(frame) < 2000
    entry = decode(frame)
    assert entry is not None and entry.call is not None and entry.reading is not None
    assert (entry.call.tags, entry.call.project) == (None, "p")
    assert (entry.reading.raw_usage, entry.reading.request_model, entry.reading.input_tokens) == (None, "m", 7)
    assert call.tags == {"a": "b"} and reading.raw_usage, "the caller's own objects stay as they are"
    entry = decode(intent_frame(a_call(tags={"a": "b" * MAX_PAYLOAD})))
    assert entry is not None and entry.call is not None and entry.call.tags is None


def test_a_record_that_is_too_large_without_them_has_no_frame() -> None:
    assert intent_frame(a_call(project="p" * MAX_PAYLOAD)) is None
    assert reading_frame(Kind.PROGRESS, a_call(project="p" * MAX_PAYLOAD), a_reading()) is None
    assert reading_frame(Kind.OUTCOME, a_call(), a_reading(error_type="e" * MAX_PAYLOAD)) is None


@given(st.integers(1, 2**62), st.integers(1, 2**62), plain_text)
def test_a_gap_comes_back(first: int, last: int, reason: str) -> None:
    gap = Gap(first, last, reason)
    assert decode(gap_frame(gap)) == Entry(Kind.GAP, None, None, gap, HERE)


def test_a_schema_is_small_and_names_all_fields() -> None:
    names = orjson.loads(schema_frame()[HEADER.size :])
    assert names == [list(CALL_FIELDS), list(READING_FIELDS)]


def schema_of(call_names: tuple[str, ...], reading_names: tuple[str, ...]) -> bytes:
    return encode(Kind.SCHEMA, orjson.dumps((call_names, reading_names)))


def test_a_segment_of_another_version_is_read_by_its_names() -> None:
    """An older one lacks fields, a newer one has more, and either may order them otherwise."""
    decoder = Decoder()
    older = tuple(reversed([name for name in CALL_FIELDS if name not in ("trace_id", "tags")]))
    newer = ("from_the_future", *READING_FIELDS[:3], "another", *READING_FIELDS[3:])
    assert decode(schema_of(older, newer), decoder) is None
    call, reading = a_call(project="p"), a_reading(request_model="m")
    values = [
        [getattr(call, name) for name in older],
        [getattr(reading, name, {"unknown": 1}) for name in newer],
    ]
    assert decode(encode(Kind.OUTCOME, orjson.dumps(values)), decoder) == Entry(Kind.OUTCOME, call, reading, None, HERE)
    assert decode(encode(Kind.INTENT, orjson.dumps(values[0])), decoder) == Entry(Kind.INTENT, call, None, None, HERE)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"[" * 5000, *b'{} [] null 5 "x" [1] [[],[]] [1,2] {not-json [[1],[2]]'.split()],
)
def test_a_payload_that_means_nothing_raises_what_the_reader_expects(kind: Kind, payload: bytes) -> None:
    if kind is Kind.SCHEMA and payload in (b"[[],[]]", b"[[1],[2]]"):
        return
    with pytest.raises((ValueError, TypeError, LookupError)):
        Decoder().entry(kind, memoryview(payload), HERE)


FRAMES = [schema_frame(), intent_frame(a_call(1)) or b"", gap_frame(Gap(2, 3, "EIO")), encode(Kind.PROGRESS, b"")]


@st.composite
def journals(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Whole frames with garbage between them, and the frames."""
    parts = draw(st.lists(st.one_of(st.sampled_from(FRAMES), st.binary(max_size=30)), max_size=8))
    return b"".join(parts), [part for part in parts if part in FRAMES]


def found_in(data: bytes, final: bool) -> tuple[list[bytes], int]:
    found = list(split(data, final))
    frames = [data[start - HEADER.size : end] for kind, start, end, _ in found if kind is not None]
    return frames, found[-1][3] if found else 0


@given(journals())
def test_garbage_between_frames_hides_none(journal: tuple[bytes, list[bytes]]) -> None:
    data, frames = journal
    found, at = found_in(data, True)
    assert (found, at) == (frames, len(data))


@given(journals(), st.binary(max_size=64))
@settings(max_examples=60)
def test_reading_on_in_steps_finds_the_same(journal: tuple[bytes, list[bytes]], tail: bytes) -> None:
    """As a live segment is read: whatever has been seen so far, frames come whole, once and in order."""
    data, frames = journal
    found: list[bytes] = []
    at = seen = 0
    for seen in range(0, len(data) + 1, 7):
        more, step = found_in(data[at:seen], False)
        found, at = found + more, at + step
        assert frames[: len(found)] == found
    more, _ = found_in(data[at:], True)
    assert found + more == frames


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_split_without_fault_and_with_progress(data: bytes, final: bool) -> None:
    places = [at for *_, at in split(data, final)]
    assert places == sorted(set(places))
    assert not places or places[-1] <= len(data)
    assert not final or not data or places[-1] == len(data)


def test_a_frame_has_a_bound() -> None:
    assert found_in(encode(Kind.GAP, b"x" * MAX_PAYLOAD), True)[0]
    assert not found_in(encode(Kind.GAP, b"x" * (MAX_PAYLOAD + 1)), True)[0]


def test_an_outcome_is_quick_to_make_and_small() -> None:
    """On the path of every call: the bound is ten times what was measured, so that it holds on a busy machine."""
    call, reading = a_call(session_id="s", project="p"), Reading(outcome="ok", input_tokens=3)
    began = time.perf_counter()
    frame = None
    for _ in range(10_000):
        frame = reading_frame(Kind.OUTCOME, call, reading)
    assert time.perf_counter() - began < 0.6
    assert frame is not None and len(frame) < 400
    assert isinstance(call, Call)
