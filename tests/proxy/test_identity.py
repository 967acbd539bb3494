"""Whose call it is: labels of header and path, their bounds, and that a key leaves only its fingerprint."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from proxy.headers import RequestHead
from proxy.identity import MAX_LABEL, MAX_TAGS, Identity, Labels, MalformedLabel, identify, key_id, parse_path_labels

SECRET = b"s" * 32
KEY = "sk-canary-5f1d0c"
TRACE = "0af7651916cd43dd8448eb211c80319c"

printable = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
labels = st.text(printable, min_size=1, max_size=60)


def who(*headers: tuple[str, str | bytes], path: Labels = (), query: bytes = b"") -> Identity:
    raw = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers]
    return identify(RequestHead(raw), query, path)


def fingerprint(*headers: tuple[str, str], query: bytes = b"") -> str:
    return key_id(SECRET, who(*headers, query=query).credential)


def test_nobody_says_anything() -> None:
    assert who() == Identity("", "none", "", "", None, "", b"")


@given(labels, labels, labels, labels)
def test_headers_name_the_call(session: str, project: str, user: str, tag: str) -> None:
    got = who(("X-Weir-Session", session), ("x-weir-project", project), ("X-WEIR-USER", user), ("x-weir-tag-Team", tag))
    assert got == Identity(session, "header", project, user, {"team": tag}, "", b"")


@given(labels, labels, labels)
def test_a_path_names_the_call_whatever_is_in_it(session: str, project: str, tag: str) -> None:
    segment = ",".join(f"{name}={quote(value, safe='')}" for name, value in
                       (("session", session), ("Project", project), ("tag-a.b_c-1", tag)))  # fmt: skip
    found = parse_path_labels(segment.encode("ascii"))
    assert found == (("session", session), ("project", project), ("tag-a.b_c-1", tag))
    assert who(path=found) == Identity(session, "path", project, "", {"a.b_c-1": tag}, "", b"")


def test_a_header_beats_the_path_label_by_label() -> None:
    path = parse_path_labels(b"session=p,project=p,user=p,tag-a=p,tag-b=p")
    got = who(("x-weir-session", "h"), ("x-weir-tag-a", "h"), path=path)
    assert got == Identity("h", "header", "p", "p", {"a": "h", "b": "p"}, "", b"")
    assert who(("x-weir-user", "h"), path=path).session_source == "path"


def test_a_value_is_split_only_at_its_first_equals_sign() -> None:
    assert parse_path_labels(b"session=a=b%2Cc") == (("session", "a=b,c"),)
    assert parse_path_labels(b"session=a+b%20c") == (("session", "a+b c"),)


BAD_VALUES = {
    "empty": b"",
    "1 MB": b"a" * (1 << 20),
    "one too long": b"a" * (MAX_LABEL + 1),
    "too long in bytes": "é".encode() * (MAX_LABEL // 2 + 1),
    "control character": b"a\x07b",
    "NUL": b"a\x00",
    "line break": b"a\r\nx",
    "DEL": b"\x7f",
    "escape sequence": b"\x1b[31m",
    "latin-1": b"caf\xe9",
    "overlong slash": b"\xc0\xaf",
    "lone surrogate": b"\xed\xa0\x80",
    "right-to-left override": "a\u202eb".encode(),
    "zero-width space": "a\u200bb".encode(),
    "line separator": "a\u2028b".encode(),
    "private use": "\ue000".encode(),
}


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)
@pytest.mark.parametrize("name", ["session", "project", "user", "tag-x"])
def test_a_bad_value_is_refused_and_only_its_name_is_said(name: str, value: bytes) -> None:
    escaped = b"".join(b"%%%02x" % byte for byte in value)
    with pytest.raises(MalformedLabel, match=name) as by_path:
        parse_path_labels(name.encode() + b"=" + escaped)
    with pytest.raises(MalformedLabel, match=name) as by_header:
        who((f"x-weir-{name}", value))
    for caught in (by_path, by_header):
        refusal = caught.value.refusal()
        assert (refusal.status, refusal.reason) == (400, "malformed_labels")
        assert refusal.message.isprintable() and len(refusal.message) < 100


def test_the_longest_value_passes() -> None:
    assert who(("x-weir-session", "a" * MAX_LABEL)).session == "a" * MAX_LABEL


NOT_LABELS = (
    *(b"", b"session", b"abc", b"=x", b"sessions=x", b"session=a,", b",session=a", b"session=a,,user=b", b"tag-=x"),
    *(b"tag-" + b"n" * 65 + b"=x", b"tag-%61=x", b"tag--a=x", b"key=x", b"\xff=x", b"session=a,session=a"),
    *(b"session=a,Session=b", b"user =x", b"n" * 9000),
)


@pytest.mark.parametrize("segment", NOT_LABELS)
def test_a_malformed_path_is_refused(segment: bytes) -> None:
    with pytest.raises(MalformedLabel) as caught:
        parse_path_labels(segment)
    assert len(str(caught.value)) < 200 and str(caught.value).isprintable()


@given(st.binary(max_size=80))
def test_any_path_segment_gives_clean_labels_or_a_refusal(segment: bytes) -> None:
    try:
        found = parse_path_labels(segment)
    except MalformedLabel as error:
        assert str(error).isprintable()
        return
    assert all(value and value.isprintable() and len(value.encode()) <= MAX_LABEL for _, value in found)
    assert len(dict(found)) == len(found)


@given(st.binary(max_size=80), st.sampled_from(["session", "tag-x", "tag-", "tag-\xff", "other"]))
def test_any_header_gives_a_clean_label_or_a_refusal(value: bytes, name: str) -> None:
    try:
        got = identify(RequestHead([(b"x-weir-" + name.encode("latin-1"), value)]), b"")
    except MalformedLabel:
        return
    assert got.session == (value.decode() if name == "session" else "")
    assert got.tags == ({"x": value.decode()} if name == "tag-x" else None)


def test_a_header_given_twice_must_say_the_same() -> None:
    assert who(("x-weir-session", "a"), ("X-Weir-Session", "a")).session == "a"
    with pytest.raises(MalformedLabel, match="x-weir-session is given twice"):
        who(("x-weir-session", "a"), ("X-Weir-Session", "b"))


def test_unknown_labels_of_ours_are_ignored() -> None:
    assert who(("x-weir-future", "\x00"), ("x-weir-tag-", "a"), ("x-weir-tag-" + "n" * 65, "a")) == Identity()


def test_tags_have_a_bound() -> None:
    most = [(f"x-weir-tag-{number}", "v") for number in range(MAX_TAGS)]
    assert len(who(*most).tags or ()) == MAX_TAGS
    with pytest.raises(MalformedLabel, match="at most 16 tags"):
        who(*most, path=(("tag-more", "v"),))


@pytest.mark.parametrize(
    ("value", "trace_id"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        (f"cc-{TRACE}-b7ad6b7169203331-01-what-the-future-will-be-like", TRACE),
        (f"ff-{TRACE}-b7ad6b7169203331-01", ""),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", ""),
        (f"00-{TRACE.upper()}-b7ad6b7169203331-01", ""),
        (f"00-{TRACE}-b7ad6b7169203331", ""),
        (f"00-{TRACE[1:]}-b7ad6b7169203331-01", ""),
        ("garbage", ""),
        ("", ""),
    ],
)
def test_the_trace_of_a_call(value: str, trace_id: str) -> None:
    assert who(("traceparent", value)).trace_id == trace_id


@given(st.binary(max_size=70))
def test_any_traceparent_gives_a_trace_id_or_none(value: bytes) -> None:
    assert re.fullmatch(r"([0-9a-f]{32})?", who(("traceparent", value)).trace_id)


def test_one_key_has_one_fingerprint_wherever_it_stands() -> None:
    places = {
        fingerprint(("Authorization", f"Bearer {KEY}")),
        fingerprint(("authorization", f"bearer {KEY}")),
        fingerprint(("Authorization", f"BEARER   {KEY} ")),
        fingerprint(("x-api-key", KEY)),
        fingerprint(("api-key", KEY)),
        fingerprint(("X-Goog-Api-Key", KEY)),
        fingerprint(query=f"alt=sse&key={KEY}".encode()),
        fingerprint(query=f"key={quote(KEY, safe='').replace('-', '%2D')}".encode()),
        fingerprint(query=f"api_key={KEY}&key=".encode()),
        fingerprint(query=f"key=&access_token={KEY}".encode()),
    }
    assert len(places) == 1
    assert re.fullmatch("k-[0-9a-f]{16}", places.pop())


def test_keys_and_secrets_both_matter() -> None:
    made = {key_id(secret, key) for secret in (SECRET, b"t" * 32) for key in (b"a", b"b", b"Basic a", b"Token a")}
    assert len(made) == 8


@pytest.mark.parametrize("credential", [b"", b"Bearer", b"Bearer ", b"bearer   "])
def test_no_key_has_no_fingerprint(credential: bytes) -> None:
    assert key_id(SECRET, credential) == ""


def test_a_header_beats_the_query_and_the_first_header_the_second() -> None:
    assert who(("x-api-key", "a"), query=b"key=b").credential == b"a"
    assert who(("x-api-key", "a"), ("authorization", "Bearer b")).credential == b"a"
    assert who(("authorization", ""), ("x-api-key", "b")).credential == b"b"


@pytest.mark.parametrize("query", [b"", b"key", b"key=", b"monkey=x", b"KEY=x", b"&&=&key"])
def test_a_query_without_a_key_has_none(query: bytes) -> None:
    assert who(query=query).credential == b""


@given(st.binary(min_size=1, max_size=100))
def test_any_credential_has_a_fingerprint_that_is_not_it(credential: bytes) -> None:
    made = key_id(SECRET, credential)
    assert re.fullmatch("(k-[0-9a-f]{16})?", made)
    assert made == key_id(SECRET, credential)


def test_a_key_is_in_no_repr() -> None:
    got = who(("authorization", f"Bearer {KEY}"), ("x-weir-session", "abc"))
    assert "abc" in repr(got)
    for shown in (repr(got), str(got), f"{got}", repr([got])):
        assert KEY not in shown
    head = RequestHead([(b"x-api-key", KEY.encode())])
    assert KEY not in repr(head)


def test_a_key_is_in_no_message() -> None:
    key = "sk canary"
    with pytest.raises(MalformedLabel) as caught:
        who(("x-weir-session", f"{key}\x07"), ("authorization", f"Bearer {key}"))
    assert key not in str(caught.value)
