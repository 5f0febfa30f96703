"""These functions split work into tasks, and long sums into parts.

Nothing here depends on the number of threads: the same problem is always split the same way, and its sums are added in
the same order, whatever else runs on the machine.
"""

from __future__ import annotations

TASKS = 16
"""Number of tasks to aim for: a few for each thread, so that a thread that starts late takes fewer of them."""


def ceil(amount: int, unit: int) -> int:
    """Return amount / unit, rounded up."""
    return -(-amount // unit)


def tasks_for(others: int) -> int:
    """Return how many tasks each of ``others`` should be cut into so that there are `TASKS` in all."""
    return -(-TASKS // others)


def parts_of(total: int, wanted: int, unit: int = 1) -> tuple[int, int]:
    """Return the number of parts of ``total``, at most ``wanted``, and the size of each part but the last.

    The size is a multiple of ``unit``; the last part is the rest.
    """
    size = ceil(ceil(total, unit), wanted) * unit
    return ceil(total, size), size
