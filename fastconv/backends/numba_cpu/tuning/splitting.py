"""These functions split work into tasks, and long sums into parts.

Nothing here depends on the number of threads: the same problem is always split the same way, and its sums are added in
the same order, whatever else runs on the machine.
"""

from __future__ import annotations

TASKS = 16
"""Number of tasks to aim for: a few for each thread, so that a thread that starts late takes fewer of them."""

LARGE_BYTES = 1 << 20
"""Size of an image, in bytes, from which on tasks in a row have the same pixels of all channels, not the same channels.

Threads take tasks from both ends (runtime/pool_state.py). So each of two threads reads the pixels that it wrote in the
layer before, from its own core's cache: MobileNetV2's layers at 112 and 56 pixels take 12% less so (Emerald
Rapids). For smaller images it is more important that a thread reads only its own channels of the weight."""


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
