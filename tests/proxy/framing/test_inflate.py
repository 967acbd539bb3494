"""Content codings, undone in bounded steps."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings, strategies as st

from proxy.framing.inflate import STEP_BYTES, BadCoding, codings, inflate, inflater

ENCODE = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=3),
    "zstd": zstd.compress,
}
TEXT = b"".join(b'data: {"n":%d}\n\n' % n for n in range(20_000))
CODED = {coding: encode(TEXT) for coding, encode in ENCODE.items()}
BIG = 64 << 20


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


@pytest.mark.parametrize("coding", sorted(ENCODE))
@given(cuts=st.lists(st.integers(0, 4000), max_size=10).map(sorted))
@settings(max_examples=15, deadline=None)
def test_bytes_come_back_wherever_they_are_cut(coding: str, cuts: list[int]) -> None:
    coded = CODED[coding]
    engine = inflater(coding)
    assert engine is not None
    pieces = [coded[a:b] for a, b in zip([0, *cuts], [*cuts, len(coded)], strict=True)]
    assert b"".join(out for piece in pieces for out in engine.feed(piece)) == TEXT


@pytest.mark.parametrize("coding", sorted(ENCODE))
def test_a_flushed_event_is_there_at_once(coding: str) -> None:
    first, event = {
        "gzip": lambda: (c := zlib.compressobj(wbits=31), c.compress(b"event") + c.flush(zlib.Z_SYNC_FLUSH)),
        "deflate": lambda: (c := zlib.compressobj(), c.compress(b"event") + c.flush(zlib.Z_SYNC_FLUSH)),
        "br": lambda: (c := brotli.Compressor(), c.process(b"event") + c.flush()),
        "zstd": lambda: (c := zstd.ZstdCompressor(), c.compress(b"event", zstd.ZstdCompressor.FLUSH_BLOCK)),
    }[coding]()
    assert first is not None
    engine = inflater(coding)
    assert engine is not None
    assert b"".join(engine.feed(event)) == b"event"


def test_chains_are_undone_from_the_last() -> None:
    assert inflate(brotli.compress(CODED["gzip"]), "gzip, br", BIG) == TEXT
    assert inflate(gzip.compress(zstd.compress(zlib.compress(TEXT))), "deflate,zstd , GZIP", BIG) == TEXT


def test_deflate_comes_with_and_without_its_header() -> None:
    assert inflate(zlib.compress(TEXT), "deflate", BIG) == TEXT
    engine = inflater("deflate")
    assert engine is not None
    raw = raw_deflate(TEXT)
    assert b"".join(out for at in range(len(raw)) for out in engine.feed(raw[at : at + 1])) == TEXT


def test_members_follow_each_other_and_padding_is_ignored() -> None:
    assert inflate(gzip.compress(b"a") + gzip.compress(b"b") + b"\0\0\0", "gzip", BIG) == b"ab"
    skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    assert inflate(zstd.compress(b"a") + skippable + zstd.compress(b"b"), "zstd", BIG) == b"ab"


def test_identity_and_nothing_are_no_coding() -> None:
    assert codings("identity, ") == []
    assert inflate(b"x", "", BIG) == b"x"
    assert inflate(b"x", "identity", BIG) == b"x"


def test_an_unknown_coding_has_no_inflater() -> None:
    assert inflater("dcb") is None
    assert inflater("gzip, compress") is None
    assert inflater("gzip," * 5) is None
    assert inflate(b"x", "dcz", BIG) is None


@pytest.mark.parametrize("coding", sorted(ENCODE))
def test_a_bomb_is_stopped_at_the_bound(coding: str) -> None:
    bomb = ENCODE[coding](b"\0" * (40 << 20))
    engine = inflater(coding, 10 << 20)
    assert engine is not None
    total = largest = 0
    with pytest.raises(BadCoding, match="decoded_too_long"):
        for piece in engine.feed(bomb):
            total += len(piece)
            largest = max(largest, len(piece))
    assert total == 10 << 20
    assert largest <= 4 * STEP_BYTES
    assert inflate(bomb, coding, 1000) == b"\0" * 1000


@pytest.mark.parametrize("coding", sorted(ENCODE))
@given(garbage=st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_garbage_is_a_bad_coding_and_nothing_else(coding: str, garbage: bytes) -> None:
    engine = inflater(coding)
    assert engine is not None
    try:
        list(engine.feed(garbage))
    except BadCoding as error:
        assert str(error) in ("bad_coding", "decoded_too_long")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_what_came_before_the_damage_is_kept(coding: str) -> None:
    coded = bytearray(ENCODE[coding](bytes(range(256)) * 4000))
    coded[len(coded) // 2 :] = b"\xff" * (len(coded) - len(coded) // 2)
    assert inflate(bytes(coded), coding, BIG) is not None or coding == "zstd"
