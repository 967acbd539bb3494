"""The chunked coding: any cutting gives the same framing back, and what is not chunked coding is refused."""

from __future__ import annotations

import time
from typing import NamedTuple

import h11
import pytest
from hypothesis import given, settings, strategies as st

from proxy.chunked import MAX_SIZE_LINE, MAX_TRAILERS, ChunkedError, ChunkedReader, encode


class Body(NamedTuple):
    """A body as a server may send it, and what of it goes on."""

    sent: bytes
    canonical: bytes
    payload: bytes
    chunks: int


class Whole(NamedTuple):
    """What a reader gave for all of a body."""

    raw: bytes
    payload: bytes
    chunks: int
    done: bool
    rest: bytes


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    contents = draw(st.lists(st.binary(min_size=1, max_size=300), max_size=6))
    sent, canonical = [], []
    for content in [*contents, b""]:
        digits = b"%0*x" % (draw(st.integers(1, 6)), len(content))
        digits = digits.upper() if draw(st.booleans()) else digits
        extension = draw(st.sampled_from([b"", b";a", b";a=b", b' ;a="b c"', b";x=\xff", b" \t;y", b"  "]))
        tail = content + b"\r\n" if content else b""
        sent.append(digits + extension + b"\r\n" + tail)
        canonical.append(digits + b"\r\n" + tail)
    trailers = draw(st.lists(st.sampled_from([b"A: b\r\n", b"Authorization: k\r\n", b"x:\r\n"]), max_size=3))
    return Body(
        b"".join([*sent, *trailers, b"\r\n"]), b"".join([*canonical, b"\r\n"]), b"".join(contents), len(contents)
    )


@st.composite
def cuttings(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


def read(pieces: list[bytes]) -> Whole:
    reader = ChunkedReader()
    got = [reader.feed(piece) for piece in pieces]
    raw, payload = b"".join(one.raw for one in got), b"".join(one.payload for one in got)
    return Whole(raw, payload, sum(one.chunks for one in got), reader.done, reader.rest)


def read_h11(data: bytes) -> bytes:
    """The payload as h11 reads it. Raises RemoteProtocolError."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    payload = b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            raise EOFError
        if isinstance(event, h11.Data):
            payload += event.data
    return payload


@given(st.data(), bodies())
def test_any_cutting_gives_the_same_framing_back(data: st.DataObject, body: Body) -> None:
    pieces = data.draw(cuttings(body.sent))
    assert read(pieces) == Whole(body.canonical, body.payload, body.chunks, True, b"")


@given(bodies())
@settings(max_examples=30)
def test_byte_by_byte_is_a_cutting_too(body: Body) -> None:
    whole = read([body.sent[at : at + 1] for at in range(len(body.sent))])
    assert whole == Whole(body.canonical, body.payload, body.chunks, True, b"")


@given(bodies())
def test_what_goes_on_is_read_by_h11_as_the_same_payload(body: Body) -> None:
    assert read_h11(read([body.sent]).raw) == body.payload


@given(st.data(), bodies())
def test_content_is_never_held_back(data: st.DataObject, body: Body) -> None:
    """After each read, what is not yet forwarded is part of a line, not of a chunk."""
    reader, fed, given_on = ChunkedReader(), b"", b""
    for piece in data.draw(cuttings(body.sent)):
        fed += piece
        given_on += reader.feed(piece).payload
        assert given_on == read([fed]).payload
        content_seen = read_plainly(fed)
        assert given_on == content_seen


def read_plainly(data: bytes) -> bytes:
    """The content bytes of the beginning of a valid body, by the simplest means."""
    content = b""
    while b"\r\n" in data:
        line, _, data = data.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if not size:
            break
        content += data[:size]
        data = data[size + 2 :]
    return content


@given(st.data(), bodies(), st.binary(min_size=1, max_size=50))
def test_what_follows_the_end_is_left_alone(data: st.DataObject, body: Body, rest: bytes) -> None:
    reader = ChunkedReader()
    raw = b""
    after = b""
    for piece in data.draw(cuttings(body.sent + rest)):
        if reader.done:
            after += piece
        else:
            raw += reader.feed(piece).raw
            after = reader.rest
    assert (raw, after, reader.done) == (body.canonical, rest, True)


@given(st.data(), st.binary(max_size=120))
def test_acceptance_does_not_depend_on_the_cutting(data: st.DataObject, junk: bytes) -> None:
    prefix = data.draw(st.sampled_from([b"", b"3\r\nabc\r\n", b"0\r\n", b"5\r\nab"]))
    pieces = data.draw(cuttings(prefix + junk))
    verdicts: list[Whole | None] = []
    for one in (pieces, [prefix + junk]):
        try:
            verdicts.append(read(one))
        except ChunkedError:
            verdicts.append(None)
    if verdicts[0] is not None and verdicts[1] is not None and verdicts[0].done:
        verdicts = [verdict._replace(rest=b"") for verdict in verdicts if verdict]
    assert verdicts[0] == verdicts[1]


@given(st.text("0123456789abcdefABCDEF;xg -+_\r\n", max_size=30).map(str.encode))
def test_whatever_is_accepted_h11_reads_alike(data: bytes) -> None:
    """h11 is more lenient than this reader; whatever passes here must mean the same there, also in its new form."""
    try:
        whole = read([data])
    except ChunkedError:
        return
    if whole.done:
        assert read_h11(whole.raw) == whole.payload


HOSTILE = {
    "no digits": b"\r\n",
    "no hex": b"xyz\r\n",
    "plus": b"+5\r\nhello\r\n",
    "minus": b"-5\r\nhello\r\n",
    "0x": b"0x5\r\nhello\r\n",
    "underscore": b"1_0\r\n" + b"a" * 16 + b"\r\n",
    "leading space": b" 5\r\nhello\r\n",
    "space within": b"1 0\r\n",
    "vertical tab": b"5\x0b\r\nhello\r\n",
    "nul": b"5\x00\r\nhello\r\n",
    "full-width digit": "５\r\nhello\r\n".encode(),
    "bare LF after size": b"5\nhello\r\n",
    "bare CR after size": b"5\rhello\r\n",
    "CR CR LF": b"5\r\r\nhello\r\n",
    "bare LF after content": b"5\r\nhello\n0\r\n\r\n",
    "content too long": b"5\r\nhello!\r\n0\r\n\r\n",
    "content too short": b"5\r\nhell\r\n0\r\n\r\n",
    "CR but no LF after content": b"5\r\nhello\rX",
    "no CRLF after content": b"5\r\nhello5\r\nhello",
    "extension without semicolon": b"5 a=b\r\nhello\r\n",
    "CR in extension": b"5;a\rb\r\nhello\r\n",
    "bare LF ends extension": b"5;a\nhello\r\n",
    "16 digits": b"1" * 16 + b"\r\n",
    "overflow to 5": b"10000000000000005\r\nhello\r\n",
    "overflow of 128 bits": b"f" * 33 + b"\r\n",
    "16 zeros": b"0" * 16 + b"\r\n\r\n",
    "oversize line": b"5;" + b"a" * MAX_SIZE_LINE + b"\r\nhello\r\n",
    "endless line": b"5;" + b"a" * MAX_SIZE_LINE,
    "endless digits": b"0" * (MAX_SIZE_LINE + 1),
    "bare LF in trailers": b"0\r\nA: b\n\r\n",
    "bare LF at the end": b"0\r\n\n",
    "endless trailer": b"0\r\n" + b"a" * MAX_TRAILERS,
    "oversize trailer": b"0\r\n" + b"a" * MAX_TRAILERS + b"\r\n\r\n",
}


@pytest.mark.parametrize("cut", [1, 7, 100_000])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_is_not_chunked_coding_is_refused(data: bytes, cut: int) -> None:
    with pytest.raises(ChunkedError):
        read([data[at : at + cut] for at in range(0, len(data), cut)])


@pytest.mark.parametrize("cut", [1, 7, 100_000])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_nothing_hostile_goes_on(data: bytes, cut: int) -> None:
    """What came before the break passes, whatever the cutting, and a client sees a cut there, not another end."""
    sound = b"4\r\nabcd\r\n" + data
    forwarded, reader = b"", ChunkedReader()
    with pytest.raises(ChunkedError) as caught:
        for at in range(0, len(sound), cut):
            forwarded += reader.feed(sound[at : at + cut]).raw
    assert caught.value.before is not None
    forwarded += caught.value.before.raw
    assert forwarded.startswith(b"4\r\nabcd\r\n") and sound.startswith(forwarded.partition(b";")[0])
    with pytest.raises(EOFError):
        read_h11(forwarded)
    with pytest.raises(ChunkedError) as whole:
        ChunkedReader().feed(sound)
    assert whole.value.before is not None and whole.value.before.raw == forwarded


def test_the_longest_lines_pass() -> None:
    size = b"5;" + b"a" * (MAX_SIZE_LINE - 4) + b"\r\n"
    trailer = b"a" * (MAX_TRAILERS - 2) + b"\r\n"
    whole = read([size + b"hello\r\n0\r\n" + trailer + b"\r\n"])
    assert whole == Whole(b"5\r\nhello\r\n0\r\n\r\n", b"hello", 1, True, b"")


def test_a_large_chunk_passes_as_it_comes() -> None:
    block = b"x" * (1 << 20)
    reader = ChunkedReader()
    assert reader.feed(b"4000000\r\n").raw == b"4000000\r\n"
    for _ in range(64):
        piece = reader.feed(block)
        assert piece.payload == block and piece.raw == block and piece.chunks == 0
    assert reader.feed(b"\r\n") == (b"\r\n", b"", 1)


def test_many_small_chunks_in_one_read_cost_no_square() -> None:
    data = b"1\r\nx\r\n" * 100_000
    began = time.perf_counter()
    assert read([data]).chunks == 100_000
    assert time.perf_counter() - began < 5


def test_an_empty_read_changes_nothing() -> None:
    reader = ChunkedReader()
    assert [reader.feed(b""), reader.feed(b"3"), reader.feed(b"")] == [(b"", b"", 0)] * 3
    assert reader.feed(b"\r\nabc\r\n") == (b"3\r\nabc\r\n", b"abc", 1)


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=5))
def test_what_is_encoded_reads_back(contents: list[bytes]) -> None:
    data = b"".join(map(encode, [*contents, b""]))
    assert read([data]) == Whole(data, b"".join(contents), len(contents), True, b"")
