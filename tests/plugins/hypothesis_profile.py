"""How Hypothesis runs in this house: no deadline per example, as the machine may be busy with other things."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("weir", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("weir")
