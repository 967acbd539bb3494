"""What a request says, and the text in it that a provider counts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from proxy.wire.request import Asked, Prompt, asked, parse, prompt

JSON = "application/json"


def ask(body: Any) -> Asked:
    return asked(json.dumps(body).encode(), JSON, truncated=False)


def text(body: Any) -> Prompt:
    found = prompt(json.dumps(body).encode())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6, "max_tokens": 5}, 6),
        ({"max_output_tokens": 7}, 7),
        ({"generationConfig": {"maxOutputTokens": 8}}, 8),
        ({"options": {"num_predict": 9}}, 9),
        ({"inferenceConfig": {"maxTokens": 10}}, 10),
        ({"parameters": {"max_new_tokens": 11}}, 11),
        ({"parameters": {"max_tokens": 12}}, 12),
        ({"max_tokens": -1}, None),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": True}, None),
        ({"options": {"num_predict": -1}}, None),
        ({}, None),
    ],
)
def test_the_output_limit_is_found(body: dict[str, Any], limit: int | None) -> None:
    assert ask(body | {"model": "m"}) == ("m", limit)


@pytest.mark.parametrize("model", [None, "", 7, ["m"], {"id": "m"}])
def test_a_model_is_a_name(model: Any) -> None:
    assert ask({"model": model}).model is None


def test_long_names_are_cut() -> None:
    assert ask({"model": "m" * 5000}).model == "m" * 256


def test_a_body_cut_off_is_read_by_its_ends() -> None:
    body = b'{"messages":[{"content":"' + b"x" * 200_000 + b'"}],"model": "gpt-4o","max_to'
    assert asked(body, JSON, truncated=True).model == "gpt-4o"
    assert asked(b'{"model":"gpt-4o","input":"' + b"x" * 200_000, JSON, truncated=True).model == "gpt-4o"
    assert asked(b'{"model":"gpt-4o","input":"', JSON, truncated=False).model == "gpt-4o"


def test_a_form_names_its_model_in_a_field() -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
        b'RIFF\x00"model":"no"\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    )
    assert asked(form, "multipart/form-data; boundary=b", truncated=False).model == "whisper-1"
    assert asked(form[:40], "multipart/form-data; boundary=b", truncated=True).model is None


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":NaN,"b":2}', None),
        (b'{"a":"\xff"}', {"a": "\ufffd"}),
        (b"{", None),
        (b'{"a":' + b"[" * 100_000, None),
        (b'{"a":"\\ud800"}', {"a": "\ud800"}),
    ],
)
def test_json_is_read_leniently(body: bytes, value: Any) -> None:
    found = parse(body)
    assert found == value or (value is None and (found is None or found["b"] == 2))


@pytest.mark.parametrize(
    ("body", "messages", "chat"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}]}, [("user", "Hi", "")], True),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "name": "Al",
                        "content": [
                            {"type": "text", "text": "Hi"},
                            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                        ],
                    }
                ]
            },
            [("user", "Hi", "Al")],
            True,
        ),
        (
            {"system": "Be kind", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
            [("system", "Be kind", ""), ("user", "Hi", "")],
            True,
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "AAAA"}}]}
                ]
            },
            [("user", "", "")],
            True,
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
                    }
                ]
            },
            [("assistant", "f\n{}", "")],
            True,
        ),
        (
            {
                "contents": [{"role": "user", "parts": [{"text": "Hi"}, {"inlineData": {"data": "AAAA"}}]}],
                "systemInstruction": {"parts": [{"text": "Be kind"}]},
            },
            [("system", "Be kind", ""), ("user", "Hi", "")],
            True,
        ),
        ({"prompt": "Hi"}, [("user", "Hi", "")], False),
        ({"prompt": ["Hi", "Ho"]}, [("user", "Hi", ""), ("user", "Ho", "")], False),
        ({"input": "Hi", "instructions": "Be kind"}, [("system", "Be kind", ""), ("user", "Hi", "")], False),
        (
            {
                "input": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_text", "text": "Hi"},
                            {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
                        ],
                    }
                ]
            },
            [("user", "Hi", "")],
            True,
        ),
        ({"input": [{"type": "function_call_output", "output": "42"}]}, [("user", "42", "")], False),
        ({"chat_input": "Hi"}, [("user", "Hi", "")], False),
        ({"chat_input": [{"role": "user", "content": "Hi"}]}, [("user", "Hi", "")], True),
        ({"prompt": "data:image/png;base64,AAAA"}, [("user", "", "")], False),
        ({"model": "m"}, [], False),
    ],
)
def test_the_text_of_every_api_is_found(body: dict[str, Any], messages: list[tuple[str, str, str]], chat: bool) -> None:
    found = text(body)
    assert (list(found.messages), found.chat) == (messages, chat)


def test_token_ids_are_counted_as_they_come() -> None:
    assert text({"input": [[1, 2, 3], [4, 5]]}).counted == 5
    assert text({"prompt": [1, 2, 3]}).counted == 3


def test_tools_are_kept_as_json() -> None:
    assert text({"messages": [], "tools": [{"name": "f"}]}).tools == '[{"name":"f"}]'


def test_no_object_has_no_prompt() -> None:
    assert prompt(b"[]") is None
    assert prompt(b"{") is None


words = st.sampled_from(
    ["messages", "content", "text", "parts", "input", "role", "tool_calls", "function", "prompt", "tools"]
)
anything = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(words, v, max_size=4),
    max_leaves=12,
)


@given(body=st.dictionaries(words, anything, max_size=5))
@settings(max_examples=300, deadline=None)
def test_wrong_types_raise_nothing(body: dict[str, Any]) -> None:
    ask(body)
    text(body)


@given(
    body=st.binary(max_size=300), kind=st.sampled_from([JSON, "multipart/form-data; boundary=x", ""]), cut=st.booleans()
)
def test_garbage_raises_nothing(body: bytes, kind: str, cut: bool) -> None:
    asked(body, kind, truncated=cut)
    prompt(body)
