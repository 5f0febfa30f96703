"""How hard the fuzz tests try: the same few examples in every run, or, to hunt for faults, many new ones.

FASTCONV_FUZZ=100 pytest tests/fuzz      # a hundred times as many, different each time
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("FASTCONV_FUZZ", "1"))


def examples(count: int) -> settings:
    """So many examples a test; no deadline, since a first call compiles."""
    return settings(
        max_examples=count * FACTOR,
        derandomize=FACTOR == 1,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
