"""Times as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from proxy import when
from proxy.when import NotATime, Span, span, zone_named

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)  # already the 21st in Berlin


def since(text: str, zone: ZoneInfo = BERLIN) -> datetime | None:
    return span(text, None, zone=zone, now=NOW).since


def until(text: str, zone: ZoneInfo = BERLIN) -> datetime | None:
    return span(None, text, zone=zone, now=NOW).until


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("24h", timedelta(hours=24)),
        ("90m", timedelta(minutes=90)),
        ("90min", timedelta(minutes=90)),
        ("30s", timedelta(seconds=30)),
        ("7d", timedelta(days=7)),
        (" 2W ", timedelta(weeks=2)),
        ("now", timedelta()),
    ],
)
def test_so_long_ago(text: str, ago: timedelta) -> None:
    assert since(text) == NOW - ago
    assert until(text) == NOW - ago


def test_days_are_the_zones_days() -> None:
    assert since("today") == datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
    assert since("yesterday") == datetime(2026, 11, 19, 23, 0, tzinfo=UTC)
    assert since("yesterday", ZoneInfo("UTC")) == datetime(2026, 11, 19, tzinfo=UTC)
    assert since("2026-10-01") == datetime(2026, 9, 30, 22, 0, tzinfo=UTC)


def test_until_a_day_takes_the_day_in() -> None:
    yesterday = span("yesterday", "yesterday", zone=BERLIN, now=NOW)
    assert yesterday == Span(datetime(2026, 11, 19, 23, tzinfo=UTC), datetime(2026, 11, 20, 23, tzinfo=UTC))
    assert until("2026-10-01") == datetime(2026, 10, 1, 22, 0, tzinfo=UTC)


def test_a_day_of_25_hours() -> None:
    day = span("2026-10-25", "2026-10-25", zone=BERLIN, now=NOW)
    assert day.since is not None and day.until is not None
    assert day.until - day.since == timedelta(hours=25)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-10-01T12:00:00Z", datetime(2026, 10, 1, 12, tzinfo=UTC)),
        ("2026-10-01T12:00:00.250+02:00", datetime(2026, 10, 1, 10, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-10-01T12:00", datetime(2026, 10, 1, 10, tzinfo=UTC)),
        ("2026-10-01 12:00:30", datetime(2026, 10, 1, 10, 0, 30, tzinfo=UTC)),
    ],
)
def test_iso_8601(text: str, moment: datetime) -> None:
    assert since(text) == moment
    assert until(text) == moment


@pytest.mark.parametrize(
    "text",
    ["soon", "7", "7y", "-7d", "2026-13-01", "2026-10-01T25:00", "20261001", "12:00", "999999999w", "٧d", "7 d d"],
)
def test_other_words_are_refused_with_examples(text: str) -> None:
    with pytest.raises(NotATime, match="yesterday, 2026-10-01"):
        since(text)


def test_nothing_said_is_open() -> None:
    assert span(None, None, zone=BERLIN, now=NOW) == Span(None, None)


def test_a_span_must_not_be_empty() -> None:
    with pytest.raises(NotATime, match="is not before"):
        span("1h", "2h", zone=BERLIN, now=NOW)


@given(text=st.text(max_size=40))
def test_no_text_does_anything_else_than_a_time_or_not_a_time(text: str) -> None:
    try:
        found = span(text, None, zone=BERLIN, now=NOW)
    except NotATime:
        return
    assert found.since is None or found.since.tzinfo is UTC


def test_zones() -> None:
    assert zone_named("Europe/Berlin") == BERLIN
    for name in ("Europe/Berlino", "../etc/passwd", "/etc/passwd", "Europe"):
        with pytest.raises(NotATime, match="not a time zone"):
            zone_named(name)


def test_the_machines_zone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert zone_named(None).key == "Asia/Tokyo"
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/America/Lima")
    monkeypatch.setattr(when, "_LOCALTIME", link)
    for rule in ("CET-1CEST,M3.5.0,M10.5.0/3", ""):
        monkeypatch.setenv("TZ", rule)
        assert zone_named(None).key == "America/Lima"
    monkeypatch.setattr(when, "_LOCALTIME", tmp_path / "none")
    assert zone_named(None).key == "UTC"
