"""The uvicorn server of the simulator, and the protocol class that leaves the socket within reach of the faults."""

from __future__ import annotations

import socket

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxy.simulator.app import build


class OpenProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with the transport in `scope["state"]`."""

    def on_message_begin(self) -> None:
        """A new request on this connection."""
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    return socket.create_server((host, port), backlog=2048)


def serve(plug: socket.socket, *, seed: int) -> None:
    """Serve until a signal comes."""
    config = uvicorn.Config(
        build(seed),
        http=OpenProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[plug])
