"""What people type for a time: `24h`, `7d`, `yesterday`, `2026-10-01`, ISO 8601. Pure: the clock is handed in.

`--since` means from the beginning of what it names, `--until` to its end: a date, `today` and `yesterday` are whole
days, so `--since yesterday --until yesterday` is yesterday. Times without a zone are in the zone of `--tz`.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

EXAMPLES = "24h, 90m, 7d, 2w, now, today, yesterday, 2026-10-01, 2026-10-01T12:00 or 2026-10-01T12:00:00Z"

_AGO = re.compile(r"([0-9]{1,9})\s*(s|sec|m|min|h|d|w)")
_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LOCALTIME = Path("/etc/localtime")


class NotATime(ValueError):
    """Words that name no time; says which do."""


class Span(NamedTuple):
    """From `since` (inclusive) to `until` (exclusive), in UTC; None is open."""

    since: datetime | None
    until: datetime | None


def span(since: str | None, until: str | None, *, zone: tzinfo, now: datetime) -> Span:
    """The span that `--since` and `--until` name; NotATime when one is no time or the span is empty."""
    found = Span(
        _moment(since, zone=zone, now=now, end=False) if since else None,
        _moment(until, zone=zone, now=now, end=True) if until else None,
    )
    if found.since and found.until and found.since >= found.until:
        raise NotATime(f"--since {since} is not before --until {until}")
    return found


def _moment(text: str, *, zone: tzinfo, now: datetime, end: bool) -> datetime:
    words = text.strip().lower()
    try:
        if words == "now":
            return now.astimezone(UTC)
        if ago := _AGO.fullmatch(words):
            return now.astimezone(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
        day = _day(words, now.astimezone(zone).date())
        if day is not None:
            return _midnight(day + timedelta(days=1) if end else day, zone)
        return _clock(text.strip(), zone)
    except (ValueError, OverflowError):
        raise NotATime(f"{text!r} is not a time that weir knows; write {EXAMPLES}") from None


def _day(words: str, today: date) -> date | None:
    if words in ("today", "yesterday"):
        return today - timedelta(days=words == "yesterday")
    return date.fromisoformat(words) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", words) else None


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def _clock(text: str, zone: tzinfo) -> datetime:
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]", text, re.IGNORECASE):
        raise ValueError(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def zone_named(name: str | None) -> ZoneInfo:
    """The zone of `--tz`, else the machine's; NotATime when there is none of that name."""
    try:
        return ZoneInfo(name) if name else _local_zone()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise NotATime(f"{name!r} is not a time zone; write one such as Europe/Berlin or UTC") from None


def _local_zone() -> ZoneInfo:
    """The machine's zone by name, which SQL needs: `TZ`, then what /etc/localtime points to, then UTC."""
    link = os.path.realpath(_LOCALTIME)
    for name in (os.environ.get("TZ", "").lstrip(":"), link.partition("zoneinfo/")[2]):
        try:
            if name:
                return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue  # TZ may be a POSIX rule, which has no name: the next source decides
    return ZoneInfo("UTC")
