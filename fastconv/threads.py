"""The number of threads that fastconv's own backends use.

torch's backend keeps to `torch.set_num_threads`, im2col to the environment's number for NumPy's matrix product.
"""

from __future__ import annotations

import contextlib
import operator
import os
from typing import NamedTuple

from fastconv.errors import ArgumentTypeError, ArgumentValueError
from fastconv.openmp import cores_of_places

VARIABLES = ("FASTCONV_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
"""Environment variables for the number of threads; the first that holds a number counts."""


def usable_cores() -> list[int]:
    """Return the cores that threads of this process may run on, though this thread itself may be bound to one."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0) | cores_of_places())
    return list(range(os.cpu_count() or 1))


def _default() -> int:
    for variable in VARIABLES:
        # OMP_NUM_THREADS may be a list, a number for each level of nesting.
        with contextlib.suppress(ValueError):
            count = int(os.environ.get(variable, "").partition(",")[0])
            if count > 0:
                return count
    return len(usable_cores())


_threads = _default()


class HostTeam(NamedTuple):
    """Addresses of functions of the OpenMP runtime that the host program computes with."""

    parallel: int
    """``GOMP_parallel``."""
    size: int
    """``omp_get_max_threads``."""
    clock: int
    """``omp_get_wtime``."""
    number: int
    """``omp_get_thread_num``."""


host_team: HostTeam | None = None
"""Threads that the backend `numba` shares with the host program; `fastconv.torch` lends torch's."""


def _forget_host_team() -> None:
    """Forget the runtime in a forked process: its threads are gone there, and it would wait for them for ever."""
    global host_team
    host_team = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_host_team)


def set_num_threads(threads: int) -> None:
    """Set the number of threads that the backend `numba` uses from now on, in the whole process.

    Args:
        threads: at least 1. The default is the environment's ``FASTCONV_NUM_THREADS``, ``NUMBA_NUM_THREADS`` or
            ``OMP_NUM_THREADS``, else the number of cores that this process may use.

    Raises:
        TypeError: not an integer.
        ValueError: less than 1.
    """
    global _threads
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise ArgumentTypeError("threads", repr(threads), "it must be an integer")
    if operator.index(threads) < 1:
        raise ArgumentValueError("threads", threads, "it must be at least 1")
    _threads = operator.index(threads)


def get_num_threads() -> int:
    """Returns the number of threads that the backend `numba` uses."""
    return _threads
