"""A contestant's own process: the threads that it may have, and what it says of an error.

Thread pools of two libraries in one process spin against each other, so each contestant of the processor lives alone;
between its turns it waits for a message and leaves the cores to the others.
"""

from __future__ import annotations

import os

THREAD_VARIABLES = (
    "FASTCONV_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def keep_to(threads: int) -> None:
    """Keeps this process on ``threads`` cores, the same for every contestant: some libraries take all they see."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def trouble(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
