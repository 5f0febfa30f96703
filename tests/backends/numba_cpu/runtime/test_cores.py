"""These tests see that the backend `numba` uses all cores of the process, whatever core the main thread is bound to."""

from __future__ import annotations

import os

import pytest

from tests.backends.numba_cpu.runtime.test_threads import run

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system can't keep a thread to a core"
)


def test_on_one_core() -> None:
    """On one core there is one thread by default, and more threads than cores when asked."""
    program = """
from tests.backends.numba_cpu.runtime.stress import stress
print(fastconv.get_num_threads(), *stress(1, 4), len(os.sched_getaffinity(0)))
"""
    keep = "import os; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])"
    others = {"NUMBA_NUM_THREADS": None, "OMP_NUM_THREADS": None}
    for count in (None, "3"):
        threads, found, wrong, cores = run(program, keep, FASTCONV_NUM_THREADS=count, **others).split()
        assert (threads, wrong, cores) == (count or "1", "[]", "1")
        assert int(found) > 0


BOUND = """
from fastconv import machine
from fastconv.backends.numba_cpu.runtime import pool_state, thread_pool as pool
fastconv.conv2d(x, w, backend="numba")
threads, cores = fastconv.get_num_threads(), os.sched_getaffinity(0)
print(threads, machine.usable_cores(), len(cores), end=" ")
if threads > 1:
    while not (helper := int(pool.pool._words[pool_state.HELPER + pool_state.THREAD])):
        time.sleep(0.01)  # it starts
    cores |= os.sched_getaffinity(helper)
print(len(cores))
"""


@pytest.mark.parametrize(
    ("first", "variable", "value"),
    [
        ("torch, fastconv", "OMP_PROC_BIND", "true"),
        ("fastconv, torch", "OMP_PROC_BIND", "spread"),
        ("torch, fastconv", "OMP_PLACES", "cores"),
        ("torch, fastconv", "GOMP_CPU_AFFINITY", "0-1023"),
    ],
)
def test_a_main_thread_that_openmp_has_bound_to_a_core(first: str, variable: str, value: str) -> None:
    """Helpers inherit the binding of the thread that starts them, and must not keep it."""
    nothing = dict.fromkeys(("FASTCONV_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"))
    cores = len(os.sched_getaffinity(0))
    environment = {**nothing, variable: value}
    assert run(BOUND, f"import os, time, {first}", **environment) == f"{cores} {cores} 1 {cores}\n"
