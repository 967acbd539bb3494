"""Token parts never overlap, never go negative, and always add up to the totals."""

from __future__ import annotations

from hypothesis import given, strategies as st

from proxy.recording.parts import TokenParts, token_parts, unit_details
from store.record import Reading

counts = st.none() | st.integers(-5, 10_000)


@given(counts, counts, counts, counts, counts)
def test_parts_add_up_to_the_totals(
    total_in: int | None, total_out: int | None, read: int | None, write: int | None, reasoning: int | None
) -> None:
    parts = token_parts(
        Reading(
            input_tokens=total_in,
            output_tokens=total_out,
            cache_read_tokens=read,
            cache_write_tokens=write,
            reasoning_tokens=reasoning,
        )
    )
    if total_in is None and total_out is None:
        assert parts is None
        return
    assert parts is not None
    assert min(parts) >= 0
    assert sum(parts[:3]) == max(total_in or 0, 0)
    assert sum(parts[3:]) == max(total_out or 0, 0)


def test_parts_are_what_the_provider_reported_when_that_is_sound() -> None:
    reading = Reading(
        input_tokens=100, output_tokens=50, cache_read_tokens=60, cache_write_tokens=30, reasoning_tokens=20
    )
    assert token_parts(reading) == TokenParts(10, 60, 30, 30, 20)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "cache_creation",
                    "ephemeral_1h_input_tokens",
                    "server_tool_use",
                    "promptTokensDetails",
                    "modality",
                    "x",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["cache_creation", "server_tool_use", "promptTokensDetails", "y"]), json))
def test_any_usage_object_gives_positive_whole_numbers(usage: dict[str, object]) -> None:
    for count in unit_details(usage).values():
        assert type(count) is int
        assert 0 < count < 1 << 53


def test_details_of_each_provider() -> None:
    assert unit_details(None) == unit_details({}) == {}
    assert unit_details(
        {"prompt_tokens_details": {"audio_tokens": 3}, "completion_tokens_details": {"audio_tokens": 4}}
    ) == {
        "input_audio_tokens": 3,
        "output_audio_tokens": 4,
    }
    gemini = {
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}, {"modality": "AUDIO", "tokenCount": 6}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 7}],
    }
    assert unit_details(gemini) == {"input_audio_tokens": 6, "output_image_tokens": 7}
