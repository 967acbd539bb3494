"""What every test shares: the fixtures in tests/plugins/, one file per real thing (a database, a provider, a weir)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# For the run on a second Python (`--hypothesis-profile=quick`), which looks for what differs there, not for all again.
settings.register_profile("quick", max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Before the first of them is imported: plugins import each other, and pytest rewrites only what it sees coming.
pytest.register_assert_rewrite("tests.plugins")

PLUGINS = Path(__file__).parent / "plugins"

pytest_plugins = [f"tests.plugins.{path.stem}" for path in sorted(PLUGINS.glob("*.py"))]
