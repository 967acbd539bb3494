"""The upstream's side: what it does wrong reaches the caller as what it is, and reaches nobody else."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.plugins.plane import Hand, Plane, carrying, refused, until
from tests.plugins.rawhttp import Headers, Message, read_answer, request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n"


def get(target: str = "/up/", headers: Headers | None = None) -> bytes:
    return request("GET", target, headers)


def key(name: str) -> Headers:
    return [(b"Authorization", b"Bearer " + name.encode())]


def failed(plane: Plane, answer: Message, status: int, reason: str, outcome: str) -> None:
    refused(answer, status, reason)
    _, reading = plane.row(answer)
    assert (reading.outcome, reading.error_type, reading.http_status) == (outcome, reason, status)
    plane.balanced()


def test_refused_connection_is_502(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with carrying(tmp_path / "d", {"up": f"http://127.0.0.1:{port}"}) as plane:
        failed(plane, plane.ask(get()), 502, "refused", "upstream_unreachable")


def test_unknown_name_is_502(tmp_path: Path) -> None:
    with carrying(tmp_path / "d", {"up": "http://nobody.invalid"}) as plane:
        failed(plane, plane.ask(get()), 502, "dns", "upstream_unreachable")


def test_connect_that_hangs_is_504(tmp_path: Path) -> None:
    """A full backlog drops the SYN: nothing answers."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for plug in waiting:
            plug.setblocking(False)
            plug.connect_ex(full.getsockname())
        time.sleep(0.05)
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        with carrying(tmp_path / "d", {"up": url}, connect_timeout=0.3) as plane:
            begun = time.monotonic()
            failed(plane, plane.ask(get()), 504, "connect_timeout", "timeout")
            assert 0.25 < time.monotonic() - begun < 2
        for plug in waiting:
            plug.close()


# -- TLS


class Authority:
    """A certificate authority of the test, and what it signs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._sign(self._name, self._key.public_key(), None).public_bytes(_PEM))

    def context(self, address: str) -> ssl.SSLContext:
        """A server with a certificate for `address`."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        file = self._folder / f"{address}.pem"
        pem = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(self._sign(name, key.public_key(), alternative).public_bytes(_PEM) + pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, alternative: x509.SubjectAlternativeName | None
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=alternative is None, path_length=None), critical=True)
        )
        if alternative is not None:
            made = made.add_extension(alternative, critical=False)
        return made.sign(self._key, hashes.SHA256())


_PEM = serialization.Encoding.PEM


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Encrypted:
    """A TLS server that answers every request with OK."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plug, _ = self._listener.accept()
                with self._context.wrap_socket(plug, server_side=True) as encrypted:
                    while data := encrypted.recv(65_536):
                        self.requests.append(data)
                        encrypted.sendall(OK)
            except ssl.SSLError:
                continue
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def encrypted(authority: Authority) -> Iterator[Encrypted]:
    server = Encrypted(authority.context("127.0.0.1"))
    yield server
    server.close()


def test_a_certificate_of_an_unknown_authority_is_502(tmp_path: Path, encrypted: Encrypted) -> None:
    with carrying(tmp_path / "d", {"up": encrypted.url}) as plane:
        failed(plane, plane.ask(get(headers=key("secret"))), 502, "tls", "upstream_unreachable")
    assert encrypted.requests == []


def test_verify_tls_ca_adds_an_authority(tmp_path: Path, encrypted: Encrypted, authority: Authority) -> None:
    table = {"base_url": encrypted.url, "verify_tls_ca": str(authority.file)}
    with carrying(tmp_path / "d", {"up": table}) as plane:
        assert [plane.ask(get()).body for _ in range(3)] == [b"ok"] * 3
        assert len(plane.idle) == 1
    assert len(encrypted.requests) == 3


def test_the_certificate_must_be_for_the_host(tmp_path: Path, authority: Authority) -> None:
    server = Encrypted(authority.context("127.0.0.2"))
    table = {"base_url": server.url, "verify_tls_ca": str(authority.file)}
    with carrying(tmp_path / "d", {"up": table}) as plane:
        failed(plane, plane.ask(get()), 502, "tls", "upstream_unreachable")
    server.close()
    assert server.requests == []


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_an_authority_file_that_cannot_be_read_is_502(tmp_path: Path, content: bytes | None) -> None:
    """Never a call that hangs, never one without verification."""
    file = tmp_path / "gone.pem"
    if content is not None:
        file.write_bytes(content)
    with carrying(tmp_path / "d", {"up": {"base_url": "https://127.0.0.1:1", "verify_tls_ca": str(file)}}) as plane:
        failed(plane, plane.ask(get()), 502, "tls_ca", "upstream_unreachable")


def test_tls_to_a_plain_port_is_502(tmp_path: Path, hand: Hand) -> None:
    with carrying(tmp_path / "d", {"up": hand.url.replace("http:", "https:")}) as plane, plane.connect() as client:
        client.send(get())
        up = hand.accept()
        up.plug.recv(100)
        up.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        failed(plane, read_answer(client.reader, b"GET"), 502, "tls", "upstream_unreachable")


def test_tls_handshake_that_hangs_is_504(tmp_path: Path, hand: Hand) -> None:
    url = hand.url.replace("http:", "https:")
    with carrying(tmp_path / "d", {"up": url}, connect_timeout=0.3) as plane, plane.connect() as client:
        client.send(get())
        up = hand.accept()
        failed(plane, read_answer(client.reader, b"GET"), 504, "connect_timeout", "timeout")
        assert up.closed() < 1


# -- no answer, or none that is HTTP

BAD_HEADS = [
    ("garbage", b"\x15\x03\x01\x00\x02\x02\x28 what is this\r\n\r\n", "bad_answer", "upstream_unreachable"),
    ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n\r\n", "bad_answer", "upstream_unreachable"),
    ("HTTP/2", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n\r\n", "bad_answer", "upstream_unreachable"),
    ("bad status", b"HTTP/1.1 abc OK\r\n\r\n", "bad_answer", "upstream_unreachable"),
    ("NUL", b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "bad_answer", "upstream_unreachable"),
    ("200 KB header", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", "bad_answer", "upstream_unreachable"),
    ("no end", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, "bad_answer", "upstream_unreachable"),
    (
        "TE and CL",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "bad_answer",
        "upstream_unreachable",
    ),
    (
        "two lengths",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "bad_answer",
        "upstream_unreachable",
    ),
    ("gzip coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "bad_answer", "upstream_unreachable"),
    ("upgrade", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "bad_answer", "upstream_unreachable"),
    ("half a head", b"HTTP/1.1 200 OK\r\nX:", "connection_closed", "upstream_cut"),
    ("nothing", b"", "closed_before_answer", "upstream_cut"),
]


@pytest.mark.parametrize("row", BAD_HEADS, ids=[row[0] for row in BAD_HEADS])
def test_an_answer_that_is_none_is_502(plane: Plane, hand: Hand, row: tuple[str, bytes, str, str]) -> None:
    """And nothing of it reaches the client."""
    _, data, reason, outcome = row
    with plane.connect() as client:
        client.send(get())
        up = hand.accept()
        up.request()
        up.send(data)
        if outcome == "upstream_cut":
            up.close()
        failed(plane, read_answer(client.reader, b"GET"), 502, reason, outcome)
        if outcome != "upstream_cut":
            assert up.closed() < 1


def test_the_first_byte_has_a_deadline(tmp_path: Path, hand: Hand) -> None:
    with carrying(tmp_path / "d", {"up": hand.url}, first_byte_timeout=0.3) as plane, plane.connect() as client:
        client.send(get())
        up = hand.accept()
        up.request()
        begun = time.monotonic()
        failed(plane, read_answer(client.reader, b"GET"), 504, "first_byte_timeout", "timeout")
        assert time.monotonic() - begun < 1.3
        assert up.closed() < 1


# -- the end is clean if and only if the upstream's was

ENDS = [
    ("chunk whole", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", "keep", "clean", "ok"),
    ("chunk cut in its data", CHUNKED + b"3\r\nab", "close", "cut", "upstream_cut"),
    ("chunk cut in its size", CHUNKED + b"3\r\nabc\r\n1", "close", "cut", "upstream_cut"),
    ("no last chunk", CHUNKED + b"3\r\nabc\r\n", "close", "cut", "upstream_cut"),
    ("last chunk without its end", CHUNKED + b"3\r\nabc\r\n0\r\n", "close", "cut", "upstream_cut"),
    ("bad chunk size", CHUNKED + b"3\r\nabc\r\nxyz\r\n", "keep", "cut", "upstream_cut"),
    ("chunk longer than its size", CHUNKED + b"3\r\nabcdef\r\n", "keep", "cut", "upstream_cut"),
    ("chunked, reset", CHUNKED + b"3\r\nabc\r\n", "reset", "cut", "upstream_cut"),
    ("length whole", LENGTH + b"0123456789", "keep", "clean", "ok"),
    ("length cut", LENGTH + b"01234", "close", "cut", "upstream_cut"),
    ("length reset", LENGTH + b"01234", "reset", "cut", "upstream_cut"),
    ("until close", UNTIL_CLOSE + b"abc", "close", "clean", "ok"),
    ("until close, empty", UNTIL_CLOSE, "close", "clean", "ok"),
    ("until close, reset", UNTIL_CLOSE + b"abc", "reset", "reset", "upstream_cut"),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nabc", "close", "clean", "ok"),
]


@pytest.mark.parametrize("row", ENDS, ids=[row[0] for row in ENDS])
def test_the_client_sees_a_clean_end_exactly_when_there_was_one(
    plane: Plane, hand: Hand, row: tuple[str, bytes, str, str, str]
) -> None:
    _, data, then, ended, outcome = row
    with plane.connect() as client:
        client.send(get())
        up = hand.accept()
        up.request()
        up.send(data)
        time.sleep(0.03)
        if then != "keep":
            (up.close if then == "close" else up.reset)()
        answer = read_answer(client.reader, b"GET")
        assert (answer.status, answer.ended) == (200, ended)
        if b"3\r\nabc\r\n" in data:
            assert answer.chunks[0] == b"abc"
        _, reading = plane.row(answer)
        assert (reading.outcome, reading.http_status) == (outcome, 200)
    plane.balanced()


def test_silence_within_an_answer_has_a_deadline(tmp_path: Path, hand: Hand) -> None:
    with carrying(tmp_path / "d", {"up": hand.url}, idle_timeout=0.3) as plane, plane.connect() as client:
        client.send(get())
        up = hand.accept()
        up.request()
        up.send(CHUNKED + b"3\r\nabc\r\n")
        for _ in range(5):  # what moves is not cut
            time.sleep(0.12)
            up.send(b"1\r\nx\r\n")
        answer = read_answer(client.reader, b"GET")
        assert (answer.body, answer.ended) == (b"abcxxxxx", "cut")
        _, reading = plane.row(answer)
        assert (reading.outcome, reading.error_type) == ("timeout", "idle_timeout")
        assert up.closed() < 1


# -- what belongs to one call stays with it

EXTRA = [
    ("length", OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    ("chunked", CHUNKED + b"2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    ("no body", b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    ("empty", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    ("304 with a body", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil"),
]


@pytest.mark.parametrize("pipelined", [False, True], ids=["one by one", "pipelined"])
@pytest.mark.parametrize("data", [row[1] for row in EXTRA], ids=[row[0] for row in EXTRA])
def test_bytes_behind_an_answer_reach_nobody(plane: Plane, hand: Hand, data: bytes, pipelined: bool) -> None:
    with plane.connect(timeout=5) as client:
        client.send(get("/up/1") + (get("/up/2") if pipelined else b""))
        up = hand.accept()
        up.request()
        up.send(data)
        first = read_answer(client.reader, b"GET")
        assert first.body in (b"ok", b"")
        if not pipelined:
            client.send(get("/up/2"))
        hand.asked(OK)  # over a connection of its own
        assert read_answer(client.reader, b"GET").body == b"ok"
        assert up.closed() < 1
        assert b"evil" not in client.reader.seen


def test_bytes_on_an_idle_connection_close_it(plane: Plane, hand: Hand) -> None:
    """Such as the 408 that some servers send when they tire of waiting."""
    with plane.connect() as client:
        client.send(get())
        up = hand.asked(OK)
        read_answer(client.reader, b"GET")
        until(lambda: plane.idle)
        up.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nevil")
        until(lambda: not plane.idle)
        client.send(get())
        hand.asked(OK)
        assert read_answer(client.reader, b"GET").body == b"ok"


def test_an_idle_connection_that_the_upstream_closes_is_not_used(plane: Plane, hand: Hand) -> None:
    with plane.connect() as client:
        client.send(get())
        up = hand.asked(OK)
        read_answer(client.reader, b"GET")
        until(lambda: plane.idle)
        up.close()
        until(lambda: not plane.idle)
        client.send(get())
        hand.asked(OK)
        assert read_answer(client.reader, b"GET").body == b"ok"


def test_connections_are_used_again_for_one_key_and_never_for_another(plane: Plane, hand: Hand) -> None:
    with plane.connect() as client:

        def call(name: str) -> None:
            client.send(get(headers=key(name)))

        call("a")
        of_a = hand.asked(OK)
        read_answer(client.reader, b"GET")
        call("b")
        of_b = hand.asked(OK)
        read_answer(client.reader, b"GET")
        for name, up in [("a", of_a), ("b", of_b), ("b", of_b), ("a", of_a)] * 5:
            call(name)
            assert up.request().value("authorization") == f"Bearer {name}"
            up.send(OK)
            assert read_answer(client.reader, b"GET").body == b"ok"
        assert hand.nobody_came()


def test_a_cookie_for_one_key_reaches_no_other_call(plane: Plane, hand: Hand) -> None:
    """weir keeps no cookies: not for another key, and not for the same one."""
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=of-a\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    with plane.connect() as client:
        client.send(get(headers=key("a")))
        of_a = hand.asked(cookie)
        assert read_answer(client.reader, b"GET").values("set-cookie") == [b"session=of-a", b"b=2"]
        for name in ("b", "a"):
            client.send(get(headers=key(name)))
            up = of_a if name == "a" else hand.accept()
            assert up.request().values("cookie") == []
            up.send(OK)
            assert read_answer(client.reader, b"GET").values("set-cookie") == []


def test_two_upstreams_never_share_a_connection(tmp_path: Path, hand: Hand) -> None:
    with carrying(tmp_path / "d", {"one": hand.url, "two": hand.url}) as plane, plane.connect() as client:
        for target in ("/one/", "/two/"):
            client.send(get(target, key("a")))
            hand.asked(OK)
            read_answer(client.reader, b"GET")
        assert len(plane.idle) == 2


def test_interim_answers_are_dropped(plane: Plane, hand: Hand) -> None:
    with plane.connect() as client:
        client.send(get())
        hand.asked(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK)
        answer = read_answer(client.reader, b"GET")
        assert (answer.interim, answer.body) == ([], b"ok")
        assert plane.row(answer)[1].chunks == 1


def test_a_head_passes_as_soon_as_it_is_there(plane: Plane, hand: Hand) -> None:
    """Also when the first byte of a chunk's size came with it and the rest takes its time."""
    with plane.connect(timeout=2) as client:
        client.send(get())
        up = hand.asked(CHUNKED + b"1")
        assert client.reader.line() == b"HTTP/1.1 200 OK"
        up.send(b"0\r\n0123456789abcdef\r\n0\r\n\r\n")
        rest = client.reader.take(client.plug.recv(1, socket.MSG_PEEK) and 10)
        assert rest


def test_idle_connections_are_closed_after_a_while(plane: Plane, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.upstream.IDLE_SECONDS", 0.1)
    with plane.connect() as client:
        client.send(get())
        up = hand.asked(OK)
        read_answer(client.reader, b"GET")
        assert up.closed() < 2
        assert plane.idle == []


def test_unused_connections_are_bounded(plane: Plane, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.upstream.MAX_IDLE", 3)
    with plane.connect() as client:
        ups = []
        for number in range(6):
            client.send(get(headers=key(str(number))))
            ups.append(hand.asked(OK))
            read_answer(client.reader, b"GET")
        assert len(plane.idle) == 3
        assert all(up.closed() < 2 for up in ups[:3])


def test_the_environment_does_not_decide_where_calls_go(
    tmp_path: Path, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with carrying(tmp_path / "d", {"up": hand.url}) as plane, plane.connect() as client:
        client.send(get())
        hand.asked(OK)
        assert read_answer(client.reader, b"GET").body == b"ok"
