"""The Starlette application of the admin port: routes, the token, errors in weir's form.

Everything but `/healthz` asks for the token when one is configured. It knows the recorder only as a `Source`.
"""

from __future__ import annotations

import hmac
import html
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.admin.exposition import Exposition


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How the recorder is: the body of `/readyz`."""

    ready: bool
    store: str
    """ok, or degraded: the store is away, records wait in the journal, and traffic goes on."""
    workers: int
    recorder: str
    """ok or stuck."""
    pending: int
    """Records read and waiting for the store."""
    lag_seconds: float
    journal_bytes: int
    dropped: int
    """Records lost for good since the recorder started."""


class Source(Protocol):
    """What the admin port shows."""

    def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics and their content type."""

    def status(self) -> Status:
        """How things are."""


class Guard:
    """Asks for `Authorization: Bearer TOKEN`, and compares it in constant time."""

    OPEN = frozenset({"/healthz"})

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._wanted = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] not in self.OPEN and not self._knows(scope):
            refused = fault(401, "unauthorized", "the admin port needs Authorization: Bearer and the admin.token")
            refused.headers["www-authenticate"] = "Bearer"
            await refused(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._wanted)


def fault(status: int, reason: str, message: str) -> JSONResponse:
    """An error in the form that all of weir's own answers have."""
    return JSONResponse({"error": {"type": f"weir_{reason}", "message": message}}, status_code=status)


def make_app(source: Source, *, token: str = "", proxy_address: str = "", routes: list[Route] | None = None) -> ASGIApp:
    """The application. `routes` are those of the JSON API."""
    exposition = Exposition(source.render)

    async def metrics(request: Request) -> Response:
        body, content_type = await exposition.get(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    app = Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", _healthz),
            Route("/readyz", _readyz(source)),
            Route("/", _index(source, proxy_address)),
            *(routes or []),
        ],
        exception_handlers={HTTPException: _refused, Exception: _broken},
    )
    return Guard(app, token) if token else app


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _readyz(source: Source) -> Callable[[Request], Response]:
    def readyz(_request: Request) -> Response:
        status = source.status()
        return JSONResponse(asdict(status), status_code=200 if status.ready else 503)

    return readyz


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reasons = {404: "not_found", 405: "method_not_allowed", 400: "bad_request", 503: "store_unavailable"}
    return fault(error.status_code, reasons.get(error.status_code, "refused"), error.detail)


async def _broken(_request: Request, error: Exception) -> Response:
    # The type only: a driver's text may quote a row, or an address with a password.
    return fault(500, "fault", f"{type(error).__name__} in the admin port; the log has more")


def _index(source: Source, proxy_address: str) -> Callable[[Request], Response]:
    def index(_request: Request) -> Response:
        status = source.status()
        links = "".join(f'<li><a href="{path}">{path}</a> {text}</li>' for path, text in LINKS)
        page = PAGE.format(
            address=html.escape(proxy_address or "http://127.0.0.1:8383"),
            store=html.escape(status.store),
            workers=status.workers,
            pending=status.pending,
            links=links,
        )
        return HTMLResponse(page, headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"})

    return index


LINKS = (
    ("/api/calls", "the last calls"),
    ("/api/sessions", "sessions by cost"),
    ("/api/usage?by=model", "calls, tokens and cost; by project, model, day, session, user, upstream"),
    ("/metrics", "for Prometheus"),
    ("/readyz", "how weir is"),
)

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>weir</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:46em;margin:3em auto;padding:0 1em}}
code{{background:#8882;padding:.1em .3em}}:root{{color-scheme:light dark}}</style></head>
<body><h1>weir</h1>
<p>A transparent proxy between applications and LLM providers. It passes every byte on unchanged and keeps the books:
tokens, money, time, sessions.</p>
<p>Point your app here, for example: <code>OPENAI_BASE_URL={address}/openai/v1</code>,
<code>ANTHROPIC_BASE_URL={address}/anthropic</code></p>
<p>Store: {store}. Workers: {workers}. Records waiting for the store: {pending}.</p>
<ul>{links}</ul>
</body></html>
"""
