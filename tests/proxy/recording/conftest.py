"""Fixtures of the recorder's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store.migrate import upgrade
from tests.proxy.recording.rig import Rig


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database to copy: migrating takes a quarter of a second."""
    path = tmp_path_factory.mktemp("template") / "weir.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def rigged(tmp_path: Path, template: Path) -> Iterator[Callable[..., Rig]]:
    """Makes rigs."""
    made: list[Rig] = []

    def make(**options: int) -> Rig:
        made.append(Rig(tmp_path / f"rig{len(made)}", template, **options))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(rigged: Callable[..., Rig]) -> Rig:
    """A recorder, its folder and its database."""
    return rigged()
