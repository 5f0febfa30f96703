"""Files of lines "name: value", sorted by name, and what differs between two of them."""

from __future__ import annotations

import difflib
import itertools
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]

RENEW = "python -m tests.backends.snapshots"

_MOST = 30
"""Differences that a message shows."""


def path_of(snapshot: str) -> Path:
    """Returns the file of "plans", "results" or "kernels"."""
    return FOLDER / f"{snapshot}.txt"


def parsed(text: str) -> dict[str, str]:
    """Returns values by name."""
    found = [line.partition(": ") for line in text.splitlines()]
    return {name: value for name, _, value in found}


def text_of(values: dict[str, str]) -> str:
    """Returns the text that `parsed` reads."""
    return "".join(f"{name}: {value}\n" for name, value in sorted(values.items()))


def stored(snapshot: str) -> dict[str, str]:
    """Returns what the snapshot's file holds."""
    return parsed(path_of(snapshot).read_text())


def in_a_child(snapshot: str) -> dict[str, str]:
    """Returns what the module of that name prints, in a process of its own, where nothing has been planned yet."""
    command = [sys.executable, "-m", f"{__package__}.{snapshot}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout)


def assert_unchanged(expected: dict[str, str], found: dict[str, str]) -> None:
    """Raises an error that lists each name whose value changed, with the words that did: the earlier, the graver."""
    names = sorted(expected.keys() | found.keys())
    changed = [name for name in names if expected.get(name) != found.get(name)]
    changed.sort(key=lambda name: _first_difference(expected.get(name, ""), found.get(name, "")))
    told = [f"{name}\n    {_difference(expected.get(name), found.get(name))}" for name in changed[:_MOST]]
    more = f"\nand {len(changed) - _MOST} more" if len(changed) > _MOST else ""
    assert not changed, (
        f"{len(changed)} of {len(expected)} values changed; if they were meant to: {RENEW}\n" + "\n".join(told) + more
    )


def _first_difference(before: str, after: str) -> int:
    """Returns the number of words before the first that changed."""
    pairs = itertools.zip_longest(before.split(), after.split())
    return next(place for place, (one, other) in enumerate(pairs) if one != other)


def _difference(before: str | None, after: str | None) -> str:
    if before is None:
        return f"is new: {after}"
    if after is None:
        return f"is gone: {before}"
    one, other = before.split(), after.split()
    parts = difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    return "; ".join(f"{' '.join(one[a:b])} -> {' '.join(other[c:d])}" for kind, a, b, c, d in parts if kind != "equal")
