"""A training killed at any moment goes on as if it had never been; ``python -m tests.models.kill`` does more of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.models.kill import kill_and_compare

TIMES = 3


@pytest.mark.skipif(sys.platform == "win32", reason="processes there can't fork")
def test_killed_at_random_moments(tmp_path: Path) -> None:
    assert len(list(kill_and_compare(tmp_path, TIMES, seed=1))) == TIMES
