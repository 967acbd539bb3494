"""Addresses -> provider APIs. The Starlette application of the simulator.

Each vendor answers below its own prefix (`/openai/v1/chat/completions`), so that one simulator can stand behind many
upstreams; addresses that belong to one vendor only are answered without it as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from proxy.simulator import (
    anthropic_messages,
    cohere,
    gemini,
    ktransformers,
    livepeer,
    llmstudio,
    mistral,
    models,
    ollama,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_responses,
    segmind,
    vision_chat,
)
from proxy.simulator.api import Api, Asked, RequestFault, Speaker
from proxy.simulator.delivery import Delivery, Reply
from proxy.simulator.ledger import Entry, Ledger
from proxy.simulator.steering import Steering, SteeringError, steer
from proxy.simulator.story import Answer, tell

Endpoint = Callable[[Request], Awaitable[Response | Delivery]]

ONE_VENDOR: tuple[tuple[str, str, Speaker], ...] = (
    ("/openai", "/v1/chat/completions", openai_chat.API),
    ("/openai", "/v1/completions", openai_completions.API),
    ("/openai", "/v1/embeddings", openai_embeddings.API),
    ("/openai", "/v1/responses", openai_responses.API),
    ("/anthropic", "/v1/messages", anthropic_messages.API),
    ("/anthropic", "/v1/messages/count_tokens", anthropic_messages.COUNT),
    *(
        ("/gemini", f"/{version}/models/{{model}}:{method}", speaker)
        for version in ("v1", "v1beta")
        for method, speaker in gemini.METHODS
    ),
    ("/ollama", "/api/chat", ollama.CHAT),
    ("/ollama", "/api/generate", ollama.GENERATE),
    ("/ollama", "/api/embed", ollama.EMBED),
    ("/cohere", "/v2/chat", cohere.CHAT),
    ("/cohere", "/v2/embed", cohere.EMBED),
    ("/llmstudio-engine", "/api/engine/chat/{provider}", llmstudio.speaker),
    ("/livepeer", "/llm", livepeer.speaker),
    ("/vision", "/api/vision-chat", vision_chat.API),
    ("/segmind", "/v1/{slug}", segmind.API),
)
"""Prefix, address, what answers there: with the prefix and without it."""

PREFIXED: tuple[tuple[str, Speaker], ...] = (
    ("/mistral/v1/chat/completions", mistral.CHAT),
    ("/mistral/v1/embeddings", mistral.EMBEDDINGS),
    ("/ktransformers/v1/chat/completions", ktransformers.CHAT),
    ("/ktransformers/v1/completions", ktransformers.COMPLETIONS),
    ("/ktransformers/api/generate", ktransformers.GENERATE),
)
"""Addresses that would be another vendor's without their prefix."""


def build(seed: int) -> Starlette:
    """The application, with an empty ledger of its own."""
    ledger = Ledger()
    addresses = [
        *PREFIXED,
        *((prefix + path, speaker) for prefix, path, speaker in ONE_VENDOR),
        *((path, speaker) for _, path, speaker in ONE_VENDOR),
    ]
    answers = [Route(path, _endpoint(speaker, seed, ledger), methods=["POST"]) for path, speaker in addresses]
    lists = [Route(path, _constant(value), methods=["GET"]) for path, value in models.ADDRESSES]
    return Starlette(routes=[*_own_routes(ledger), *lists, *answers])


def _constant(value: Mapping[str, Any]) -> Endpoint:
    async def constant(request: Request) -> Response:
        return JSONResponse(value)

    return constant


def _own_routes(ledger: Ledger) -> list[Route]:
    async def rows(request: Request) -> Response:
        return JSONResponse(ledger.rows())

    async def clear(request: Request) -> Response:
        ledger.clear()
        return Response(status_code=204)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "healthy", "message": "Simulator is up and running"})

    return [
        Route("/__sim/ledger", rows, methods=["GET"]),
        Route("/__sim/ledger", clear, methods=["DELETE"]),
        Route("/health", health, methods=["GET"]),
        Route("/llmstudio-engine/health", health, methods=["GET"]),
    ]


def _endpoint(speaker: Speaker, seed: int, ledger: Ledger) -> Endpoint:
    async def answer(request: Request) -> Delivery:
        raw = await request.body()
        asked = Asked(body={}, path=request.path_params, query=request.query_params)
        entry = ledger.open(api=_speaking(speaker, asked).name, path=request.url.path)
        try:
            body = _parse(raw)
            steering = steer(request.headers, body)
        except (SteeringError, RequestFault) as problem:
            return Delivery(_refuse(_speaking(speaker, asked), entry, 400, str(problem)), Steering(), entry)
        entry.tag = steering.tag
        asked = replace(asked, body=body, dialect=steering.dialect)
        return Delivery(_reply(_speaking(speaker, asked), asked, steering, seed, entry), steering, entry)

    return answer


def _speaking(speaker: Speaker, asked: Asked) -> Api:
    return speaker if isinstance(speaker, Api) else speaker(asked)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as problem:
        raise RequestFault(f"We could not parse the JSON body of your request: {problem}") from problem
    if not isinstance(body, dict):
        raise RequestFault("the body must be a JSON object")
    return body


def _reply(api: Api, asked: Asked, steering: Steering, seed: int, entry: Entry) -> Reply:
    """The answer that the request gets: a refusal, a document or a stream."""
    if steering.fault.kind == "status":
        return _refuse(api, entry, steering.fault.number, "This is a simulated error.")
    try:
        ask = api.read(asked)
    except RequestFault as problem:
        return _refuse(api, entry, api.refusal_status or 400, str(problem))
    answer = tell(seed, ask, steering)
    streamed = ask.stream and api.events is not None
    _enter(entry, answer, streamed=streamed)
    entry.usage_sent = answer.show_usage and api.reports and (api.reports_streams or not streamed)
    if streamed and api.events is not None:
        headers = _headers(api.stream_type, api, answer)
        return Reply(headers=headers, parts=api.events(answer), streamed=True, broken=api.broken)
    return Reply(headers=_headers(api.document_type, api, answer), parts=[api.document(answer)])


def _refuse(api: Api, entry: Entry, status: int, message: str) -> Reply:
    entry.status = status
    headers = [("content-type", api.refusal_type)]
    if status in (429, 503, 529):
        headers.append(("retry-after", "1"))
    return Reply(status=status, headers=headers, parts=[api.refusal(status, message)])


def _headers(kind: str | None, api: Api, answer: Answer) -> list[tuple[str, str]]:
    return [*([("content-type", kind)] if kind else []), *api.headers(answer)]


def _enter(entry: Entry, answer: Answer, *, streamed: bool) -> None:
    counts = answer.counts
    entry.id, entry.model, entry.stream, entry.status = answer.ident, answer.model, streamed, 200
    entry.input_tokens = counts.input_tokens
    entry.output_tokens = counts.output_tokens if answer.ask.speaks else None
    entry.cached, entry.cache_write, entry.reasoning = counts.cached, counts.cache_write, counts.reasoning
