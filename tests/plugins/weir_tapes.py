"""A weir in front of a tape player: what the client and the upstream see is compared byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.plugins import rawhttp
from tests.plugins.rawhttp import Headers, Message
from tests.plugins.tapes import Choose, Script, TapePlayer
from tests.plugins.weir import Row, Weir, running

ONE_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}

UPSTREAMS: dict[str, dict[str, Any]] = {
    "vision": {"wire": {"/api/vision-chat": "openai.chat"}},
    "engine": {"estimate": "text"},
    "livepeer": {},
    "ktransformers": {},
    "segmind": {},
    "raw": {},
}
"""All of them are the player. `livepeer` stands behind a path prefix, as in `https://livepeer.studio/api/beta/generate`."""
PREFIXES = {"livepeer": "/api/beta/generate"}


def passed(headers: Headers) -> Headers:
    """The headers that weir has to hand on as they are."""
    return [(name, value) for name, value in headers if name.lower() not in ONE_HOP]


@dataclass
class Bench:
    """The player, and the weir in front of it."""

    player: TapePlayer
    weir: Weir

    def play(self, script: Script | Choose | list[bytes]) -> None:
        """What the upstream answers from now on, and a clean list of what it was asked."""
        self.player.play(script)

    def direct(self, request: bytes | Iterable[bytes]) -> Message:
        return rawhttp.ask(self.player.port, request)

    def through(self, request: bytes | Iterable[bytes]) -> Message:
        return rawhttp.ask(self.weir.proxy_port, request)

    def row(self, answer: Message) -> Row:
        return self.weir.row(answer.value("x-weir-call-id"))

    def both(self, make: Callable[[str], bytes | Iterable[bytes]], upstream: str = "raw") -> Message:
        """The same request both ways (`make` takes what stands before the path): the answers must be the same."""
        direct = self.direct(make(PREFIXES.get(upstream, "")))
        self.player.requests.clear()
        through = self.through(make(f"/{upstream}"))
        same(direct, through)
        return through


def same(direct: Message, through: Message) -> None:
    """Equal but for what belongs to one hop, and the call id that weir adds at the end."""
    assert through.first_line == direct.first_line
    assert [value for name, value in through.headers if name == b"x-weir-call-id"], "no call id"
    own = [(name, value) for name, value in passed(through.headers) if name != b"x-weir-call-id"]
    assert own == passed(direct.headers)
    assert through.chunks == direct.chunks
    assert (through.framing, through.ended) == (direct.framing, direct.ended)


@pytest.fixture(scope="session")
def one_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    player = TapePlayer(Script([]))
    tables = {
        name: {"base_url": player.url + PREFIXES.get(name, ""), "provider": name, **table}
        for name, table in UPSTREAMS.items()
    }
    try:
        with running(tmp_path_factory.mktemp("bench"), tables) as weir:
            yield Bench(player, weir)
    finally:
        player.close()


@pytest.fixture
def bench(one_bench: Bench) -> Bench:
    one_bench.play([])
    return one_bench
