"""`weir check` against real sockets, real certificates and both stores."""

from __future__ import annotations

import datetime
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from tests.proxy.cli.conftest import Run


@contextmanager
def listening(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that accepts, shakes hands and hangs up."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            try:
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
            except OSError:
                pass
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate for localhost that only its own file vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = tmp_path / "ca.pem", tmp_path / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form, how = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, how))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem, secret)
    return context, pem


def states(weir: Run, *args: str) -> dict[str, tuple[str, str]]:
    found = json.loads(weir("check", "--json", *args).out)
    assert [list(row) for row in found] == [["state", "subject", "message", "hint"]] * len(found)
    return {row["subject"]: (row["state"], row["message"] + row["hint"]) for row in found}


def test_all_is_well_with_no_configuration(weir: Run, store: str) -> None:
    found = weir("check", "--store", store)
    assert found.code == 0, found.out
    assert [line.split()[0] for line in found.out.splitlines()] == ["ok"] * 5
    assert "at revision" in found.out


def test_a_store_without_tables_is_a_warning(weir: Run, empty_store: str) -> None:
    state, words = states(weir, "--store", empty_store)["database"]
    assert state == "warn"
    assert "without tables yet" in words and "`weir db upgrade`" in words
    assert weir("check", "--store", empty_store).code == 0


def test_a_store_that_is_not_there_fails(weir: Run) -> None:
    found = weir("check", "--store", "postgresql://weir:s3cret@127.0.0.1:1/weir")
    assert found.code == 1
    assert "FAIL  database" in found.out
    assert "s3cret" not in found.out + found.err


def test_own_upstreams_are_asked_and_the_catalogues_are_not(weir: Run, sqlite_store: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        free = closed.getsockname()[1]
    with listening() as port:
        (tmp_path / "weir.toml").write_text(
            f'[upstreams.mine]\nbase_url = "http://127.0.0.1:{port}"\n'
            f'[upstreams.openai]\nbase_url = "http://127.0.0.1:{port}/v9"\n'
            f'[upstreams.away]\nbase_url = "http://127.0.0.1:{free}"\n'
            '[upstreams.lost]\nbase_url = "http://no-such-host.invalid"\n'
            '[upstreams.groq]\nestimate = "off"\n'
        )
        found = states(weir, "--store", sqlite_store)
    assert {name: state for name, (state, _) in found.items() if name.startswith("upstream ")} == {
        "upstream mine": "ok",
        "upstream openai": "ok",
        "upstream away": "FAIL",
        "upstream lost": "FAIL",
    }
    assert "upstreams.away.base_url" in found["upstream away"][1]
    assert weir("check", "--store", sqlite_store).code == 1


def test_certificates(weir: Run, sqlite_store: str, tmp_path: Path, certificate: tuple[ssl.SSLContext, Path]) -> None:
    context, pem = certificate
    with listening(context) as port, listening() as plain:
        (tmp_path / "weir.toml").write_text(
            f'[upstreams.trusted]\nbase_url = "https://localhost:{port}"\nverify_tls_ca = "{pem}"\n'
            f'[upstreams.stranger]\nbase_url = "https://localhost:{port}"\n'
            f'[upstreams.plain]\nbase_url = "https://localhost:{plain}"\n'
        )
        found = states(weir, "--store", sqlite_store)
    assert found["upstream trusted"][0] == "ok", found
    assert found["upstream stranger"][0] == "FAIL"
    assert "verify_tls_ca" in found["upstream stranger"][1]
    assert found["upstream plain"][0] == "FAIL"


def test_a_data_folder_that_cannot_be_written(weir: Run, sqlite_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_DATA", "/proc/weir")  # not even root can write there
    state, words = states(weir, "--store", sqlite_store)["data folder"]
    assert state == "FAIL"
    assert "WEIR_DATA" in words


def test_too_little_room(weir: Run, sqlite_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    free = os.statvfs(".")
    monkeypatch.setenv("WEIR_JOURNAL__MAX_BYTES", str(free.f_frsize * free.f_blocks * 2))
    assert states(weir, "--store", sqlite_store)["data folder"][0] == "warn"


def test_a_wrong_configuration_is_wrong_use(weir: Run, tmp_path: Path) -> None:
    (tmp_path / "weir.toml").write_text("[proxy]\nprot = 1\n")
    found = weir("check")
    assert (found.code, found.out) == (2, "")
    assert "unknown key proxy.prot (weir.toml)" in found.err
    assert "hint: did you mean proxy.port?" in found.err
