"""A raw HTTP/1.1 client: shows an answer as it stood on the wire, and how its body ended.

Nothing is normalised: header names keep their case, order and duplicates, and the body stays a list of HTTP chunks.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

Headers = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """One HTTP message off the wire."""

    first_line: bytes
    headers: Headers
    chunks: list[bytes] = field(default_factory=list)
    """HTTP chunks where the body is chunked, else the body in one piece (nothing when it is empty)."""
    framing: str = "none"
    """chunked, length, close (until the end of the connection), or none."""
    trailers: Headers = field(default_factory=list)
    ended: str = "clean"
    """clean, cut (the connection closed too early) or reset."""
    interim: list[bytes] = field(default_factory=list)
    """First lines of the 1xx answers that came before."""
    raw: bytes = b""
    """All bytes of a request, as they came."""

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def status(self) -> int:
        return int(self.first_line.split(b" ")[1])

    def values(self, name: str) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name.lower().encode()]

    def value(self, name: str) -> str | None:
        values = self.values(name)
        return values[0].decode() if values else None


class Closed(Exception):
    """The connection ended; `how` is cut or reset."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class Reader:
    """Bytes off a socket, with all of them kept in `seen`."""

    def __init__(self, plug: socket.socket) -> None:
        self._plug = plug
        self._buffer = bytearray()
        self.seen = bytearray()

    def _more(self) -> None:
        try:
            data = self._plug.recv(1 << 20)
        except ConnectionResetError:
            raise Closed("reset") from None
        if not data:
            raise Closed("cut")
        self._buffer += data
        self.seen += data

    def take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            self._more()
        return self.take(end + 2)[:-2]

    def rest(self) -> bytes:
        """What came so far and was not taken."""
        return self.take(len(self._buffer))

    def until_end(self) -> tuple[bytes, str]:
        try:
            while True:
                self._more()
        except Closed as end:
            return self.rest(), end.how

    def forget(self) -> bytes:
        """All bytes taken since the last call."""
        count = len(self.seen) - len(self._buffer)
        data = bytes(self.seen[:count])
        del self.seen[:count]
        return data


def read_head(reader: Reader) -> Message:
    """First line and headers."""
    message = Message(reader.line(), [])
    while line := reader.line():
        name, _, value = line.partition(b":")
        message.headers.append((name, value.strip(b" \t")))
    return message


def read_body(reader: Reader, message: Message, *, until_close: bool) -> None:
    """The body in the framing that the headers announce; `until_close` where none means the rest of the connection."""
    coding = b",".join(message.values("transfer-encoding")).lower()
    length = message.value("content-length")
    try:
        if b"chunked" in coding:
            message.framing = "chunked"
            _read_chunks(reader, message)
        elif length is not None:
            message.framing = "length"
            _read_length(reader, message, int(length))
        elif until_close:
            message.framing = "close"
            data, how = reader.until_end()
            message.chunks = [data] if data else []
            message.ended = "clean" if how == "cut" else how
    except Closed as end:
        message.ended = end.how


def _read_chunks(reader: Reader, message: Message) -> None:
    while size := int(reader.line().partition(b";")[0], 16):
        message.chunks.append(reader.take(size))
        assert reader.line() == b""
    while line := reader.line():
        name, _, value = line.partition(b":")
        message.trailers.append((name, value.strip(b" \t")))


def _read_length(reader: Reader, message: Message, length: int) -> None:
    try:
        data = reader.take(length)
    except Closed as end:
        data, message.ended = reader.rest(), end.how
    message.chunks = [data] if data else []


def read_answer(reader: Reader, method: bytes) -> Message:
    """One final answer, with the first lines of the interim ones before it."""
    interim: list[bytes] = []
    while (message := read_head(reader)).status < 200 and message.status != 101:
        interim.append(message.first_line)
    message.interim = interim
    if method != b"HEAD" and message.status not in (101, 204, 304):
        read_body(reader, message, until_close=True)
    return message


class Connection:
    """One connection to a server, for one request after the other."""

    def __init__(self, port: int, *, timeout: float = 10.0) -> None:
        self.plug = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = Reader(self.plug)

    def send(self, data: bytes) -> None:
        self.plug.sendall(data)

    def ask(self, request: bytes | Iterable[bytes]) -> Message:
        """Send a request, in one write or in several, and read its answer."""
        pieces = [request] if isinstance(request, bytes) else list(request)
        for piece in pieces:
            self.send(piece)
        return read_answer(self.reader, pieces[0].split(b" ", 1)[0])

    def quiet(self, seconds: float = 0.05) -> bool:
        """Whether nothing more comes, and the connection stays open, for that long."""
        if self.reader.rest():
            return False
        self.plug.settimeout(seconds)
        try:
            self.plug.recv(1)
        except TimeoutError:
            return True
        except ConnectionResetError:
            return False
        return False

    def close(self) -> None:
        self.plug.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(port: int, request: bytes | Iterable[bytes], *, timeout: float = 10.0) -> Message:
    """One request over a connection of its own."""
    with Connection(port, timeout=timeout) as connection:
        return connection.ask(request)


def request(method: str, target: str, headers: Headers | None = None, body: bytes = b"", *, host: str = "t") -> bytes:
    """The bytes of a request; a body gets its length."""
    lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: " + host.encode()]
    lines += [name + b": " + value for name, value in headers or []]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def chunked(pieces: Iterable[bytes]) -> list[bytes]:
    """A body as HTTP chunks, with its end."""
    return [*(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]
