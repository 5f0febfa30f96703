"""How work is cut into tasks, and long sums into parts.

Nothing here depends on the number of threads: the same problem is cut the same way, and its sums are added in the same
order, whatever the machine is busy with.
"""

from __future__ import annotations

TASKS = 16
"""Tasks worth having: a few for each thread, so that one that comes late takes fewer."""


def ceil(amount: int, unit: int) -> int:
    """Return how many units hold an amount."""
    return -(-amount // unit)


def tasks_for(others: int) -> int:
    """Return how many tasks each of ``others`` should be cut into so that there are `TASKS` in all."""
    return -(-TASKS // others)


def parts_of(total: int, wanted: int, unit: int = 1) -> tuple[int, int]:
    """Return how many parts ``total`` falls into, and the size of each but the last, a multiple of ``unit``.

    There are at most ``wanted`` parts.
    """
    size = ceil(ceil(total, unit), wanted) * unit
    return ceil(total, size), size
