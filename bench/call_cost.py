"""What a call and an event cost in weir's own code: microseconds of CPU, without sockets.

    .venv/bin/python bench/call_cost.py

A listener and an upstream connection are driven by hand with the bytes of an OpenAI chat call, journal and meter on.
Prints the best of many short runs of CPU time, which other work on the machine disturbs least.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from proxy.dataplane import DataPlane
from proxy.identity import key_id
from proxy.listener import Listener
from proxy.settings import ProxySettings, Settings, UpstreamSettings
from proxy.upstream import UpstreamConnection
from store.journal import JournalWriter

SECRET, BOOT, KEY = b"s" * 32, "b" * 32, b"Bearer sk-bench"

PROMPT = b'{"model":"gpt-4o-mini","temperature":0.2,"messages":[{"role":"user","content":"%b"}]}' % (b"hello " * 220)
REQUEST = (
    b"POST /up/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: %b\r\nAccept: application/json\r\n"
    b"Content-Type: application/json\r\nUser-Agent: OpenAI/Python 3.52.0\r\nContent-Length: %d\r\n\r\n%b"
) % (KEY, len(PROMPT), PROMPT)
ANSWER_BODY = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"%b","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":300,"completion_tokens":200,"total_tokens":500,"prompt_tokens_details":{"cached_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":0}},"service_tier":"default"}'
) % (b"word " * 200)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"x-request-id: req_1\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%b"
) % (len(ANSWER_BODY), ANSWER_BODY)
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini-2024-07-18",'
    b'"service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":" token"},'
    b'"logprobs":null,"finish_reason":null}],"obfuscation":"abcdefgh"}\n\n'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Sink:
    """A transport that takes everything and keeps nothing."""

    def write(self, data: bytes) -> None:
        """Takes bytes."""

    def writelines(self, parts: list[bytes]) -> None:
        """Takes bytes."""

    def is_closing(self) -> bool:
        """Never closes."""
        return False

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Knows nothing."""
        return default


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application that nobody calls."""


def pair(data: Path) -> tuple[Listener, UpstreamConnection]:
    """A client's connection and the pooled upstream connection that its calls will use."""
    upstreams = {"up": UpstreamSettings(base_url="http://127.0.0.1:9")}
    settings = Settings(data=data, proxy=ProxySettings(default_upstream="up"), upstreams=upstreams)
    plane = DataPlane(settings, secret=SECRET, journal=JournalWriter(data / "journal", BOOT), boot_id=BOOT)
    config = uvicorn.Config(nothing, lifespan="off", log_config=None, ws="none")
    config.load()
    make = Listener.bind(plane)
    listener = make(config=config, server_state=ServerState(), app_state={}, _loop=asyncio.get_running_loop())
    listener.connection_made(cast("asyncio.Transport", Sink()))
    pool = plane._line.pool
    connection = UpstreamConnection(pool, ("up", key_id(SECRET, KEY)))
    connection.connection_made(cast("asyncio.Transport", Sink()))
    pool.put(connection)
    return listener, connection


def best(work: Callable[[], None], times: int) -> float:
    """Microseconds of CPU for one `work`: the best of 600 runs of `times`."""
    found = float("inf")
    for _ in range(600):
        began = time.thread_time()
        for _ in range(times):
            work()
        found = min(found, (time.thread_time() - began) / times)
    return found * 1e6


async def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as folder:
        listener, connection = pair(Path(folder))

        def call() -> None:
            listener.data_received(REQUEST)
            connection.data_received(ANSWER)

        call()
        print(f"call  {best(call, 20):6.1f} µs  (request {len(PROMPT)} bytes, answer {len(ANSWER_BODY)} bytes)")
        listener.data_received(REQUEST)
        connection.data_received(STREAM_HEAD)
        chunk = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
        print(f"event {best(lambda: connection.data_received(chunk), 50):6.2f} µs  ({len(EVENT)} bytes, one chunk)")


if __name__ == "__main__":
    asyncio.run(main())
