"""The last committed places in a file: whole or not there, and never a reason to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.recording.bookmark import Bookmark
from store.journal import Position


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    bookmark = Bookmark(tmp_path / "recorded.json")
    assert bookmark.load() == {}
    places = {"a": Position(1, 20), "b": Position(3, 0)}
    bookmark.save(places)
    assert bookmark.load() == places
    assert all(isinstance(place, Position) for place in bookmark.load().values())
    assert [path.name for path in tmp_path.iterdir()] == ["recorded.json"]


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b'{"a": 1}', b'{"a": ["x", 1]}', b'{"a": [1]}', b"\xff"])
def test_a_damaged_file_is_as_none(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "recorded.json"
    path.write_bytes(damage)
    assert Bookmark(path).load() == {}


def test_a_failing_disk_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Bookmark(tmp_path / "nowhere" / "recorded.json").save({"a": Position(1, 1)})
    assert "bookmark_not_written" in caplog.text
    assert Bookmark(tmp_path).load() == {}
