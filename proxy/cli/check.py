"""`weir check`: is everything that weir needs there? One line a thing: ok, warn or FAIL, and what to do."""

from __future__ import annotations

import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import typer

from proxy.cli.faults import FOUND, Fault, store_faults
from proxy.cli.options import AsJson, Config, Store, settings_for
from proxy.cli.printing import Form, printable, write_rows

if TYPE_CHECKING:
    from proxy.settings import Settings, UpstreamSettings

CONNECT_TIMEOUT = 3.0


class Finding(NamedTuple):
    """One line of the check."""

    state: str
    """ok, warn or FAIL."""
    subject: str
    message: str
    hint: str = ""


def check(*, config: Config = None, store: Store = None, as_json: AsJson = False) -> None:
    """Check that all that weir needs is there.

    Configuration, upstreams of your own, database, prices, data folder; exit 1 where something fails.

    \b
      weir check
      weir check --config /etc/weir.toml
    """
    settings = settings_for(config, store)
    findings = [Finding("ok", "configuration", _configured(settings))]
    for ask in (_upstreams, _database, _prices, _data):
        findings += ask(settings)
    if as_json:
        write_rows([finding._asdict() for finding in findings], Finding._fields, form=Form.JSON)
    else:
        _write(findings)
    if any(finding.state == "FAIL" for finding in findings):
        raise typer.Exit(FOUND)


def _write(findings: list[Finding]) -> None:
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(f"{finding.state:<4}  {printable(finding.subject):<{width}}  {printable(finding.message)}")
        if finding.hint:
            print(f"{'':<{width + 8}}hint: {printable(finding.hint)}")


def _configured(settings: Settings) -> str:
    return f"{len(settings.upstreams)} upstreams, {len(settings.prices)} prices of your own"


def _upstreams(settings: Settings) -> Iterator[Finding]:
    """Asks the upstreams that the operator wrote down; the catalogue's are not bothered."""
    own = [(name, upstream) for name, upstream in settings.upstreams.items() if _is_own(name, upstream)]
    if not own:
        yield Finding("ok", "upstreams", "none of your own; those of the catalogue are not asked")
        return
    with ThreadPoolExecutor(min(len(own), 16)) as threads:
        yield from threads.map(lambda named: _reach(*named), own)


def _is_own(name: str, upstream: UpstreamSettings) -> bool:
    from proxy.config import catalogue

    return upstream.base_url != catalogue().get(name, {}).get("base_url")


def _reach(name: str, upstream: UpstreamSettings) -> Finding:
    from proxy.upstream import tls_context

    url = urlsplit(upstream.base_url)
    host, port = url.hostname or "", url.port or {"http": 80, "https": 443}[url.scheme]
    subject = f"upstream {name}"
    try:
        with socket.create_connection((host, port), CONNECT_TIMEOUT) as connection:
            if url.scheme == "https":
                ca_file = str(upstream.verify_tls_ca) if upstream.verify_tls_ca else None
                with tls_context(ca_file).wrap_socket(connection, server_hostname=host):
                    pass
    except ssl.SSLCertVerificationError as error:
        hint = f"upstreams.{name}.verify_tls_ca names a PEM file to trust"
        return Finding("FAIL", subject, f"certificate of {host}:{port}: {error.verify_message}", hint)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        return Finding(
            "FAIL", subject, f"no connection to {host}:{port}: {reason}", f"is upstreams.{name}.base_url right?"
        )
    return Finding("ok", subject, f"{host}:{port} answers")


def _database(settings: Settings) -> Iterator[Finding]:
    from proxy.cli.db import known_state
    from proxy.settings import mask_url

    url = settings.store.url
    try:
        with store_faults(url):
            state = known_state(url)
    except Fault as fault:
        yield Finding("FAIL", "database", fault.message, fault.hint)
        return
    if state.current:
        yield Finding("ok", "database", f"{mask_url(url)} at revision {state.revision}")
    else:
        stands = f"at revision {state.revision}" if state.revision else "without tables yet"
        yield Finding("warn", "database", f"{mask_url(url)} {stands}", "`weir serve` or `weir db upgrade` makes them")


def _prices(settings: Settings) -> Iterator[Finding]:
    from proxy.pricing import Pricer

    priced = [name for name, upstream in settings.upstreams.items() if upstream.price_provider]
    Pricer(settings.prices, settings.upstreams)
    yield Finding("ok", "prices", f"catalogue for {len(priced)} upstreams, {len(settings.prices)} of your own")


def _data(settings: Settings) -> Iterator[Finding]:
    folder = settings.data
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        hint = "--data or WEIR_DATA names another folder"
        yield Finding("FAIL", "data folder", f"cannot write to {there}: {error.strerror}", hint)
        return
    message = f"{folder} is writable" if there == folder else f"{folder} can be made"
    free = shutil.disk_usage(there).free
    if free < settings.journal.max_bytes:
        hint = "make room, or lower journal.max_bytes: what does not fit is dropped and counted"
        yield Finding("warn", "data folder", f"{message}, but has less free space than journal.max_bytes", hint)
    else:
        yield Finding("ok", "data folder", f"{message}, {free // 2**30} GiB free")
