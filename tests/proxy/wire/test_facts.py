"""The state that readers fold into."""

from __future__ import annotations

from hypothesis import given, strategies as st

from proxy.wire import facts as room
from proxy.wire.facts import MAX_TEXT, Facts, Speech, merged


@given(pieces=st.lists(st.text(max_size=3), max_size=700))
def test_speech_is_what_was_added(pieces: list[str]) -> None:
    speech = Speech()
    for piece in pieces:
        speech.add(piece)
    assert speech.whole() == "".join(pieces)


def test_text_is_bounded() -> None:
    facts = Facts()
    for _ in range(5):
        facts.say("x" * (MAX_TEXT // 4))
        facts.say_in(3, "y")
    assert len(facts.output()) <= MAX_TEXT + 1


def test_lanes_are_bounded_and_odd_ones_share_the_first() -> None:
    facts = Facts()
    for lane in (None, 0, -1, "1", True, room.MAX_LANES, 10**9):
        facts.say_in(lane, "a")
    assert (facts.output(), facts.several) == ("a" * 7, False)


def test_the_first_fault_wins() -> None:
    facts = Facts()
    facts.flaw("one")
    facts.flaw("two")
    assert facts.fault == "one"


def test_the_first_names_win_and_are_cut() -> None:
    facts = Facts()
    facts.name("", None)
    facts.name(7, "")
    facts.name("m" * 1000, "id")
    facts.name("other", "other")
    assert (facts.response_model, facts.response_id) == ("m" * 256, "id")


def test_an_empty_reason_means_that_it_goes_on() -> None:
    facts = Facts()
    for reason in ("", None, 7, "stop", "", None):
        facts.finish(reason)
    assert facts.finish_reason == "stop"


def test_merging_goes_into_details_and_leaves_the_old_alone() -> None:
    old = {"a": 1, "d": {"x": 1, "y": 2}}
    assert merged(old, {"a": None, "d": {"y": 3}, "b": 4}) == {"a": 1, "b": 4, "d": {"x": 1, "y": 3}}
    assert old == {"a": 1, "d": {"x": 1, "y": 2}}
