"""Content codings, piece by piece: what goes in comes out at once, as providers flush each event of a stream.

The opposite of `proxy/framing/inflate.py`, and only for the simulator.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Encoder(Protocol):
    """A content coding under way."""

    def piece(self, data: bytes) -> bytes:
        """The coded form of `data`, complete enough to be decoded now."""

    def end(self) -> bytes:
        """What closes the coding."""


class Identity:
    """No coding."""

    def piece(self, data: bytes) -> bytes:
        """The same bytes."""
        return data

    def end(self) -> bytes:
        """Nothing."""
        return b""


class Gzip:
    """RFC 1952, flushed at each piece."""

    def __init__(self) -> None:
        self._deflater = zlib.compressobj(wbits=31)

    def piece(self, data: bytes) -> bytes:
        """Deflated and flushed."""
        return self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        """Last block, checksum and length."""
        return self._deflater.flush()


class CutGzip(Gzip):
    """A gzip body that lacks its end."""

    def end(self) -> bytes:
        """Nothing: that is the fault."""
        return b""


class Brotli:
    """RFC 7932, flushed at each piece."""

    def __init__(self) -> None:
        self._compressor = brotli.Compressor(quality=4)

    def piece(self, data: bytes) -> bytes:
        """Compressed and flushed."""
        return bytes(self._compressor.process(data) + self._compressor.flush())

    def end(self) -> bytes:
        """The last meta-block."""
        return bytes(self._compressor.finish())


class Zstd:
    """RFC 8878, one block per piece."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor()

    def piece(self, data: bytes) -> bytes:
        """Compressed and flushed."""
        return self._compressor.compress(data, mode=zstd.ZstdCompressor.FLUSH_BLOCK)

    def end(self) -> bytes:
        """The end of the frame."""
        return self._compressor.flush()


CODINGS: Mapping[str, Callable[[], Encoder]] = {
    "": Identity,
    "gzip": Gzip,
    "br": Brotli,
    "zstd": Zstd,
    "truncated-gzip": CutGzip,
}


def encoder(name: str) -> Encoder:
    """The coding of that name; the empty name is no coding."""
    return CODINGS[name]()
