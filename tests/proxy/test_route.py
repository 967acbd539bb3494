"""Raw path → where the call goes, and that nothing in a path can make it go anywhere else."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st

from proxy.gate import Refusal, check_target
from proxy.route import Router, Target, UpstreamRoute, upstream_route

UPSTREAMS = {
    name: upstream_route(name, url, **more)
    for name, url, more in (
        ("openai", "https://api.openai.com", {"provider": "openai"}),
        ("anthropic", "https://api.anthropic.com", {}),
        ("gemini", "https://generativelanguage.googleapis.com", {"provider": "gcp.gemini"}),
        ("ollama", "http://127.0.0.1:11434", {}),
        ("groq", "https://api.groq.com/openai/", {}),
        ("local.one-2", "http://[::1]:9112/a/b", {"wire": {"/llm": "openai.completions", "/x/*": "openai.chat"}}),
    )
}
ROUTER = Router(UPSTREAMS, "openai")


def target(path: bytes, method: str = "POST", router: Router = ROUTER) -> Target:
    found = router.route(method, path)
    assert isinstance(found, Target), found
    return found


def refusal(path: bytes, router: Router = ROUTER) -> Refusal:
    found = router.route("POST", path)
    assert isinstance(found, Refusal), found
    return found


@pytest.mark.parametrize(
    ("path", "upstream", "forwarded"),
    [
        (b"/openai/v1/chat/completions", "openai", b"/v1/chat/completions"),
        (b"/anthropic/v1/messages", "anthropic", b"/v1/messages"),
        (b"/groq/v1/chat/completions", "groq", b"/openai/v1/chat/completions"),
        (b"/local.one-2/llm", "local.one-2", b"/a/b/llm"),
        (b"/openai", "openai", b"/"),
        (b"/openai/", "openai", b"/"),
        (b"/openai?a=1", "openai", b"/?a=1"),
        (b"/local.one-2", "local.one-2", b"/a/b/"),
        (b"/v1/chat/completions", "openai", b"/v1/chat/completions"),
        (b"/v1/messages", "anthropic", b"/v1/messages"),
        (b"/v1/messages/batches", "anthropic", b"/v1/messages/batches"),
        (b"/v1/messages?beta=true", "anthropic", b"/v1/messages?beta=true"),
        (b"/v1/messagesX", "openai", b"/v1/messagesX"),
        (b"/v1beta/models/g:generateContent", "gemini", b"/v1beta/models/g:generateContent"),
        (b"/api/chat", "ollama", b"/api/chat"),
        (b"/api/generate", "ollama", b"/api/generate"),
        (b"/openai/openai/x", "openai", b"/openai/x"),
        (b"/openai/v1/with/session=a/x", "openai", b"/v1/with/session=a/x"),
    ],
)
def test_a_path_names_or_implies_its_upstream(path: bytes, upstream: str, forwarded: bytes) -> None:
    found = target(path)
    assert (found.upstream, found.target, found.labels) == (UPSTREAMS[upstream], forwarded, ())


@pytest.mark.parametrize(
    "path",
    b"/ /nobody/v1/x /OpenAI/v1/x /open%61i/v1 /v1 /v2/x /api/tags /?x /v1beta2/x /api/chats /with /health".split(),
)
def test_other_paths_go_nowhere(path: bytes) -> None:
    found = refusal(path)
    assert (found.status, found.reason) == (404, "unknown_upstream")
    assert "anthropic, gemini, groq, local.one-2, ollama, openai" in found.message


def test_a_default_that_is_not_configured_is_unknown() -> None:
    router = Router({"openai": UPSTREAMS["openai"]}, "nobody")
    assert refusal(b"/v1/x", router).reason == "unknown_upstream"
    assert refusal(b"/v1/messages", router).reason == "unknown_upstream"
    assert target(b"/openai/v1/x", router=router).upstream.name == "openai"


@pytest.mark.parametrize(
    ("path", "upstream", "forwarded", "labels"),
    [
        (b"/with/session=abc/openai/v1/x", "openai", b"/v1/x", (("session", "abc"),)),
        (b"/with/session=a,project=b,user=c,tag-d=e/v1/messages", "anthropic", b"/v1/messages",
         (("session", "a"), ("project", "b"), ("user", "c"), ("tag-d", "e"))),
        (b"/with/session=a%2Fb%3Fc/openai", "openai", b"/", (("session", "a/b?c"),)),
        (b"/with/session=a/openai?x=/y,z=1", "openai", b"/?x=/y,z=1", (("session", "a"),)),
    ],
)  # fmt: skip
def test_labels_stand_in_front(
    path: bytes, upstream: str, forwarded: bytes, labels: tuple[tuple[str, str], ...]
) -> None:
    found = target(path)
    assert (found.upstream.name, found.target, found.labels) == (upstream, forwarded, labels)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (b"/with/", "malformed_labels"),
        (b"/with/abc/openai/v1", "malformed_labels"),
        (b"/with/session=/openai/v1", "malformed_labels"),
        (b"/with/session=%00/openai/v1", "malformed_labels"),
        (b"/with/session=%ed%a0%80/openai/v1", "malformed_labels"),
        (b"/with/session=a", "unknown_upstream"),
        (b"/with/session=a/", "unknown_upstream"),
        (b"/with/session=a?b=/openai/v1/x", "unknown_upstream"),
        (b"/with/session=a/with/user=b/openai/v1", "unknown_upstream"),
    ],
)
def test_labels_that_lead_nowhere_are_refused(path: bytes, reason: str) -> None:
    assert refusal(path).reason == reason


@pytest.mark.parametrize(
    ("path", "wire_format", "operation"),
    [
        (b"/openai/v1/chat/completions", "openai.chat", "chat"),
        (b"/v1/embeddings", "openai.embeddings", "embeddings"),
        (b"/v1/messages", "anthropic.messages", "chat"),
        (b"/local.one-2/llm", "openai.completions", "text_completion"),
        (b"/local.one-2/x/y?z", "openai.chat", ""),
    ],
)
def test_a_path_says_which_format_it_speaks(path: bytes, wire_format: str, operation: str) -> None:
    found = target(path)
    assert found.wire_format == wire_format
    assert found.operation == operation or not operation


def test_the_recorded_path_has_no_query_and_a_bound() -> None:
    found = target(b"/groq/v1/x?key=sk-canary&a=%20")
    assert (found.path, found.query, found.target) == ("/openai/v1/x", b"key=sk-canary&a=%20",
                                                       b"/openai/v1/x?key=sk-canary&a=%20")  # fmt: skip
    assert "sk-canary" not in repr(found) and "sk-canary" not in repr([found])
    long = target(b"/openai/v1/" + b"a" * 5000)
    assert len(long.path) == 512 and len(long.target) == 5004


pieces = st.sampled_from(
    b"/ openai with session=a .. . %2e %2f @ :443 evil.example http: ? # v1 messages \\ %5c groq a = , %00 "
    b"local.one-2 \xff //".split()
)
targets = st.one_of(
    st.lists(pieces, max_size=10).map(b"".join),
    st.lists(pieces, max_size=10).map(lambda parts: b"/" + b"/".join(parts)),
    st.binary(max_size=40).map(lambda raw: b"/" + raw),
)


@given(targets)
@example(b"/with/session=a/@evil.example/openai")
@example(b"/openai/@evil.example")
@example(b"/openai/http:/evil.example/")
def test_nothing_a_client_sends_names_another_host(path: bytes) -> None:
    """What passes the gate goes to a configured upstream, to its prefix and the end of the path as it was sent."""
    if check_target(b"POST", path) is not None:
        return
    found = ROUTER.route("POST", path)
    if isinstance(found, Refusal):
        assert found.status in (400, 404) and found.message.isprintable()
        return
    assert found.upstream in UPSTREAMS.values()
    assert found.target.startswith(found.upstream.prefix + b"/")
    rest = found.target[len(found.upstream.prefix) :]
    assert path.endswith((rest, rest.removeprefix(b"/")))
    assert not found.target.startswith(b"//")


escaped = st.lists(
    st.sampled_from([b"a", b"%41", b"%2F", b"%2f", b"%3A", b"%25", b":", b"+", b"~", b"/b"]), max_size=12
)


@given(escaped, escaped)
def test_percent_encoding_is_left_alone(path: list[bytes], query: list[bytes]) -> None:
    rest = b"/v1/" + b"".join(path) + b"?" + b"".join(query)
    for name, route in UPSTREAMS.items():
        assert target(b"/" + name.encode() + rest).target == route.prefix + rest
        labelled = b"/with/session=%41/" + name.encode() + rest
        assert target(labelled).target == route.prefix + rest


def test_an_unknown_name_is_shown_cut_short() -> None:
    assert len(refusal(b"/" + b"n" * 8000).message) < 500


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.example", ("https", "api.example", 443, b"api.example", b"")),
        ("https://api.example:443/", ("https", "api.example", 443, b"api.example", b"")),
        ("http://api.example:443", ("http", "api.example", 443, b"api.example:443", b"")),
        ("http://127.0.0.1:80/x/", ("http", "127.0.0.1", 80, b"127.0.0.1", b"/x")),
        ("http://[::1]:9112/a/b", ("http", "::1", 9112, b"[::1]:9112", b"/a/b")),
        ("https://[2001:db8::1]", ("https", "2001:db8::1", 443, b"[2001:db8::1]", b"")),
        ("https://API.Example/V1", ("https", "api.example", 443, b"api.example", b"/V1")),
    ],
)
def test_a_base_url_is_taken_apart(base_url: str, expected: tuple[str, str, int, bytes, bytes]) -> None:
    route = upstream_route("x", base_url)
    assert (route.scheme, route.host, route.port, route.authority, route.prefix) == expected
    assert isinstance(route, UpstreamRoute) and route.provider == "x"
