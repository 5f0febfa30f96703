"""What a reader needs to judge figures: machine, threads, versions, commit, date; and whether the machine was quiet."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import sleep

from fastconv import machine
from fastconv.bench import contestants

ROOT = Path(__file__).parents[2]
"""The checkout, or the folder of packages."""
BUSY = 0.05
"""The share of the cores' time from which on a machine doesn't count as idle."""


def describe(names: Sequence[str], threads: int) -> dict[str, str]:
    """The environment of a run with these contestants, as names and values for people."""
    packages = sorted({package for name in names for package in contestants.entries()[name].packages})
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return {
        **machine.describe(),
        "threads": str(threads),
        "contestants": versions,
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def commit() -> str:
    """Returns the commit that the bench runs from, with "-dirty" for changes on top; "unknown" outside a checkout."""
    if not (ROOT / "pyproject.toml").exists():  # an installed package may lie in somebody else's repository
        return "unknown"
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def busy_share(seconds: float = 1.0) -> float | None:
    """The share of the cores' time, 0 to 1, that others use now; None where the system doesn't tell."""
    before = _ticks()
    if before is None:
        return None
    sleep(seconds)
    after = _ticks()
    assert after is not None
    total, idle = after[0] - before[0], after[1] - before[1]
    return 1 - idle / total if total else 0.0


def _ticks() -> tuple[int, int] | None:
    """All cores' clock ticks since the start and those of them spent idle; time that a host stole counts as busy."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    ticks = [int(word) for word in words[:8]]
    return sum(ticks), ticks[3] + ticks[4]
