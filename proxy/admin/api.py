"""`/api/…`: what `store.query` answers, as JSON with the names of the SQL columns; the shapes of `weir … --json`.

Every question runs in a thread, on a connection on which the database refuses every write.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy.when import NotATime, span as named_span
from store import query
from store.query import CallRow, Cursor, Span
from store.record import CallRecord

log = logging.getLogger(__name__)

Connected = Callable[[], AbstractContextManager[Any]]
Answer = Callable[[Any, Mapping[str, str], Mapping[str, str]], Any]
"""(connection, path parameters, query parameters) → what becomes JSON."""

MAX_LIMIT = 10_000
FILTERS = ("project", "upstream", "provider", "model", "user_id", "key_id", "outcome")


def routes(connected: Connected) -> list[Route]:
    """The routes; `connected` opens a reading connection to the store."""
    answers: dict[str, Answer] = {
        "/api/calls": _calls,
        "/api/calls/{call_id}": _call,
        "/api/sessions": _sessions,
        "/api/sessions/{session_id:path}": _session,
        "/api/usage": _usage,
        "/api/errors": _errors,
        "/api/latency": _latency,
    }
    return [Route(path, _endpoint(answer, connected)) for path, answer in answers.items()]


def _endpoint(answer: Answer, connected: Connected) -> Callable[[Request], Any]:
    def ask(request: Request) -> Any:
        texts = (*request.path_params.values(), *request.query_params.values())
        if any("\x00" in text for text in texts):
            raise HTTPException(400, "no name holds a NUL character")
        try:
            with connected() as connection:
                return answer(connection, request.path_params, request.query_params)
        except (NotATime, ValueError) as error:
            raise HTTPException(400, str(error)) from error
        except HTTPException:
            raise
        except Exception as error:
            # Whatever the database raises: the store is away or not set up yet. Its text may hold an address.
            log.warning("event=question_failed path=%s cause=%s", request.url.path, type(error).__name__)
            raise HTTPException(503, "the store does not answer; /readyz tells more") from error

    async def endpoint(request: Request) -> Response:
        found = await run_in_threadpool(ask, request)
        return Response(orjson.dumps(found), media_type="application/json")

    return endpoint


def _calls(connection: Any, _path: Mapping[str, str], asked: Mapping[str, str]) -> Any:
    where = _where(asked, *FILTERS)
    if "session" in asked:
        where["session_id"] = asked["session"]
    failed = asked.get("failed", "") in ("1", "true", "yes")
    found = query.calls(
        connection,
        _span(asked),
        limit=_limit(asked),
        where=where,
        failed=failed,
        before=_cursor(asked.get("before")),
        after=_cursor(asked.get("after")),
    )
    return [query.as_dict(row) for row in found]


def _call(connection: Any, path: Mapping[str, str], _asked: Mapping[str, str]) -> Any:
    found = query.call(connection, path["call_id"])
    if found is None:
        raise HTTPException(404, "no call has this id")
    return everything(found)


def _sessions(connection: Any, _path: Mapping[str, str], asked: Mapping[str, str]) -> Any:
    order: Any = asked.get("order", "cost")
    where = _where(asked, "project")
    found = query.sessions(connection, _span(asked), order=order, limit=_limit(asked), where=where)
    return [query.as_dict(row) for row in found]


def _session(connection: Any, path: Mapping[str, str], asked: Mapping[str, str]) -> Any:
    found = query.session(connection, path["session_id"], limit=_limit(asked, 1000))
    if found is None:
        raise HTTPException(404, "no session has this name")
    return query.as_dict(found)


def _usage(connection: Any, _path: Mapping[str, str], asked: Mapping[str, str]) -> Any:
    by = [name for name in asked.get("by", "model").split(",") if name]
    rows = query.usage(connection, _span(asked), by=by, tz=_zone(asked).key, where=_where(asked, *FILTERS[:4]))
    fields = {query.GROUPS[name] for name in by}
    unasked = set(query.GROUPS.values()) - fields
    return [{name: value for name, value in query.as_dict(row).items() if name not in unasked} for row in rows]


def _errors(connection: Any, _path: Mapping[str, str], asked: Mapping[str, str]) -> Any:
    found = query.errors(connection, _span(asked), limit=_limit(asked), where=_where(asked, *FILTERS[:4]))
    return [query.as_dict(row) for row in found]


def _latency(connection: Any, _path: Mapping[str, str], asked: Mapping[str, str]) -> Any:
    by = [name for name in asked.get("by", "provider,model").split(",") if name]
    return [query.as_dict(row) for row in query.latency(connection, _span(asked), by=by)]


def everything(record: CallRecord) -> dict[str, Any]:
    """One call: the columns of `call_log`, then those that only the table has."""
    shown = query.as_dict(CallRow.of(record))
    twins = {"started_at", "cost_nusd"} | {name.replace("_ms", "_us") for name in shown if name.endswith("_ms")}
    rest = {name: value for name, value in record.row().items() if name not in shown and name not in twins}
    return {**shown, **rest}


def _where(asked: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: asked[name] for name in names if name in asked}


def _limit(asked: Mapping[str, str], default: int = 50) -> int:
    text = asked.get("limit", str(default))
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LIMIT:
        raise ValueError(f"limit is a number from 1 to {MAX_LIMIT}")
    return int(text)


def _span(asked: Mapping[str, str]) -> Span:
    zone = _zone(asked)
    found = named_span(asked.get("since"), asked.get("until"), zone=zone, now=datetime.now(UTC))
    return Span(*(None if end is None else round(end.timestamp() * 1_000_000) for end in found))


def _zone(asked: Mapping[str, str]) -> ZoneInfo:
    try:
        return ZoneInfo(asked.get("tz", "UTC"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("tz is a time zone such as Europe/Berlin") from None


def _cursor(text: str | None) -> Cursor | None:
    """`STARTED_AT,CALL_ID` as a row has them: the place of a call already seen."""
    if text is None:
        return None
    at, comma, call_id = text.partition(",")
    if not comma:
        raise ValueError("before and after are STARTED_AT,CALL_ID of a call, as in an answer")
    return Cursor(round(datetime.fromisoformat(at).timestamp() * 1_000_000), call_id)
