"""The admin port's routes, token and errors, over a real uvicorn on a loopback socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.admin.app import Status, make_app
from tests.proxy.admin.serving import Serving

HEALTHY = Status(
    ready=True, store="ok", workers=1, recorder="ok", pending=0, lag_seconds=0.0, journal_bytes=10, dropped=0
)


class Source:
    """A recorder as the admin port sees it."""

    def __init__(self) -> None:
        self.now = HEALTHY
        self.rendered = 0

    def render(self, accept: str) -> tuple[bytes, str]:
        self.rendered += 1
        return f"weir_test{{accept={bool(accept)!r}}} 1\n".encode(), "text/plain; version=0.0.4; charset=utf-8"

    def status(self) -> Status:
        if self.now.recorder == "broken":
            raise RuntimeError("postgresql://user:hunter2@db/weir")
        return self.now


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def served() -> Iterator[Callable[..., httpx.Client]]:
    """Serves an app and gives a client for it."""
    running: list[Serving] = []

    def serve(source: Source, **options: str) -> httpx.Client:
        running.append(Serving(make_app(source, **options)))  # type: ignore[arg-type]
        return running[-1].client

    yield serve
    for serving in running:
        serving.stop()


def test_health_is_well_as_long_as_the_process_lives(source: Source, served: Callable[..., httpx.Client]) -> None:
    source.now = replace(HEALTHY, ready=False, store="degraded", workers=0, recorder="stuck")
    answer = served(source).get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("now", "status"),
    [
        (HEALTHY, 200),
        (replace(HEALTHY, store="degraded"), 200),
        (replace(HEALTHY, ready=False, workers=0), 503),
        (replace(HEALTHY, ready=False, recorder="stuck"), 503),
    ],
)
def test_ready_says_what_is_wrong(
    source: Source, served: Callable[..., httpx.Client], now: Status, status: int
) -> None:
    source.now = now
    answer = served(source).get("/readyz")
    assert answer.status_code == status
    assert answer.json()["store"] == now.store
    assert answer.json()["workers"] == now.workers


def test_metrics_pass_as_rendered(source: Source, served: Callable[..., httpx.Client]) -> None:
    answer = served(source).get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert [family.name for family in text_string_to_metric_families(answer.text.replace("False", '"x"'))] == [
        "weir_test"
    ]


def test_the_token_guards_everything_but_health(source: Source, served: Callable[..., httpx.Client]) -> None:
    client = served(source, token="s3cret-token")
    right = {"authorization": "Bearer s3cret-token"}
    assert client.get("/healthz").status_code == 200
    for path in ("/metrics", "/readyz", "/", "/api/calls", "/nowhere", "/healthz/", "//healthz"):
        for headers in (
            {},
            {"authorization": "s3cret-token"},
            {"authorization": "Bearer s3cret-toke"},
            {"authorization": "Basic s3cret-token"},
            {"authorization": "Bearer x"},
        ):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401, (path, headers)
            assert answer.json()["error"]["type"] == "weir_unauthorized"
            assert "s3cret" not in answer.text
    assert client.get("/metrics", headers=right).status_code == 200
    assert client.get("/readyz", headers=right).status_code == 200


def test_two_credentials_are_none(source: Source, served: Callable[..., httpx.Client]) -> None:
    client = served(source, token="t")
    both = [("authorization", "Bearer wrong"), ("authorization", "Bearer t")]
    assert client.get("/metrics", headers=both).status_code == 401


def test_errors_have_weirs_form_and_tell_no_secret(source: Source, served: Callable[..., httpx.Client]) -> None:
    client = served(source)
    missing = client.get("/nowhere")
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "weir_not_found")
    wrong = client.post("/metrics")
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (405, "weir_method_not_allowed")
    source.now = replace(HEALTHY, recorder="broken")
    broken = client.get("/readyz")
    assert (broken.status_code, broken.json()["error"]["type"]) == (500, "weir_fault")
    assert "hunter2" not in broken.text


def test_the_index_says_where_to_point_an_app(source: Source, served: Callable[..., httpx.Client]) -> None:
    page = served(source, proxy_address="http://127.0.0.1:8383<script>").get("/")
    assert page.status_code == 200
    assert "OPENAI_BASE_URL=http://127.0.0.1:8383&lt;script&gt;/openai/v1" in page.text
    for path in ("/metrics", "/readyz", "/api/calls", "/api/sessions", "/api/usage?by=model"):
        assert f'href="{path}"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
