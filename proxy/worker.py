"""One data-plane process: the sockets, the data plane and its journal, and nothing else.

Started by the supervisor as `python -m proxy.worker --fd N`, with the settings as one JSON line on standard input and
the listening socket as file descriptor N. The end of standard input means that the supervisor is gone: drain and exit.
SIGTERM does the same; calls get `proxy.drain_timeout` seconds to finish, then they are broken off and recorded so.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import secrets
import signal
import socket
from pathlib import Path

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from proxy.dataplane import DataPlane
from proxy.listener import Listener
from proxy.parent import settings_from_parent, when_parent_is_gone
from proxy.settings import Settings
from store.journal import JournalWriter

log = logging.getLogger("weir.worker")

TICK_SECONDS = 0.1
BACKLOG = 2048


def health(_request: Request) -> JSONResponse:
    """`/health`: the shape that LLMstudio's clients insist on."""
    return JSONResponse({"status": "healthy", "message": "weir is up and running"})


def not_here(_request: Request) -> JSONResponse:
    """LLMstudio's own API is not in this version; its engine works as an upstream."""
    message = "weir does not answer LLMstudio's API itself; configure its engine as an upstream: /NAME/api/engine/…"
    error = {"error": {"type": "weir_not_implemented", "message": message}}
    return JSONResponse(error, status_code=501, headers={"x-weir-error": "not_implemented"})


def make_app() -> Starlette:
    """What the proxy port answers by itself."""
    return Starlette(
        routes=[
            Route("/health", health),
            Route("/{rest:path}", not_here, methods=["GET", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"]),
        ]
    )


class Worker:
    """Runs one data plane until it is told to stop."""

    def __init__(self, settings: Settings, listening: socket.socket) -> None:
        self._settings = settings
        self._socket = listening
        boot_id = secrets.token_hex(16)
        journal = JournalWriter(settings.data / "journal", boot_id, max_bytes=settings.journal.max_bytes)
        self._plane = DataPlane(settings, secret=read_secret(settings.data), journal=journal, boot_id=boot_id)
        config = uvicorn.Config(
            make_app(),
            http=Listener.bind(self._plane),
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            # uvicorn waits this long for connections to close; afterwards the rest is broken off here.
            timeout_graceful_shutdown=max(1, round(settings.proxy.drain_timeout)),
        )
        self._server = uvicorn.Server(config)
        log.info("worker ready pid=%d boot=%s", os.getpid(), boot_id)

    def run(self) -> None:
        """Blocks until the worker has drained."""
        uvloop.run(self._run())

    async def _run(self) -> None:
        # What start-up made stays for good; the rest is mostly freed by reference counts. With the defaults the
        # collector walks the state of every open stream some times a second.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 50, 100)
        loop = asyncio.get_running_loop()
        when_parent_is_gone(lambda: loop.call_soon_threadsafe(self._stop))
        # uvicorn raises the signals it has caught again when it is done; by default that would end the process there.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        ticking = asyncio.create_task(self._tick())
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            ticking.cancel()
            await self._plane.close()

    def _stop(self) -> None:
        self._server.should_exit = True

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                self._plane.tick()
                now = self._plane.clock()
                for connection in list(self._server.server_state.connections):
                    if isinstance(connection, Listener):
                        connection.sweep(now)
            except Exception:
                log.exception("tick failed")


def read_secret(data: Path) -> bytes:
    """The key of key fingerprints: 32 random bytes in the data directory, made at the first start."""
    path = data / "secret"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = data / f"secret.{secrets.token_hex(8)}"  # no two starters share a draft
    draft.touch(mode=0o600)
    draft.write_bytes(secrets.token_bytes(32))
    try:
        os.link(draft, path)  # fails if another process was first, so that all agree
    except FileExistsError:
        log.debug("secret already made")
    finally:
        draft.unlink()
    return path.read_bytes()


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(prog="python -m proxy.worker", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--fd", type=int, required=True, help="listening socket")
    options = parser.parse_args()
    settings = settings_from_parent()
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    Worker(settings, socket.socket(fileno=options.fd)).run()


if __name__ == "__main__":
    main()
