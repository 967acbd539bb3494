"""What the shared options come to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.cli.faults import WRONG_USE, Fault
from proxy.cli.options import form_of, names_in, question, settings_for
from proxy.cli.printing import Form
from store.query import Span


def test_a_question_knows_its_store_span_zone_and_form() -> None:
    asked = question(
        None, "sqlite:///x.db", since="1970-01-01", until="1970-01-01T00:00:01.000002Z", tz="UTC", as_csv=True
    )
    assert asked.url == "sqlite:///x.db"
    assert asked.span == Span(0, 1_000_002)
    assert (asked.since, asked.until) == (
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 0, 1, 2, tzinfo=UTC),
    )
    assert (asked.zone.key, asked.form) == ("UTC", Form.CSV)


def test_a_question_without_times_is_open() -> None:
    assert question(None, "sqlite:///x.db").span == Span(None, None)


def test_microseconds_are_exact_far_from_1970() -> None:
    asked = question(None, "sqlite:///x.db", since="2262-04-11T23:47:16.854775Z")
    assert asked.span.since == 9_223_372_036_854_775


def test_the_configuration_names_the_store(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('[store]\nurl = "sqlite:///from-file.db"\n')
    assert question(file, None).url == "sqlite:///from-file.db"
    assert question(file, "sqlite:///flag.db").url == "sqlite:///flag.db"


def test_flags_are_written_with_two_underscores() -> None:
    settings = settings_for(None, None, proxy__port=9, data=Path("d"), proxy__host=None)
    assert (settings.proxy.port, settings.proxy.host, settings.data) == (9, "127.0.0.1", Path("d"))


def test_one_form_only() -> None:
    assert [form_of(False, False), form_of(True, False), form_of(False, True)] == [Form.TABLE, Form.JSON, Form.CSV]
    with pytest.raises(Fault) as caught:
        form_of(True, True)
    assert caught.value.code == WRONG_USE


def test_a_wrong_name_in_a_question_is_wrong_use(sqlite_store: str) -> None:
    with pytest.raises(Fault) as caught, question(None, sqlite_store).ask():
        raise ValueError("cannot group by colour")
    assert caught.value.code == WRONG_USE


def test_lists_of_names() -> None:
    assert names_in(" project, Model,,day ") == ["project", "model", "day"]
    assert names_in("") == []
