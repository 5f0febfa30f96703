"""This file says where the numbers of a pool's job lie in memory, and has the loop in which threads do its tasks.

The numbers are 64-bit words. Words that different threads write at the same time lie in different cache lines.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.runtime.atomics import atomic_add, atomic_load
from fastconv.backends.numba_cpu.simd import call

STATUS = 0  # the number of helpers inside, the two flags below, and above them the number of the job
NEXT = 8  # the first task that no thread has taken yet
SLOT = 9  # the slot of the next member of the host's team
FUNCTION, FRAME, TASKS, HELPERS, STOP, MODE = 16, 17, 18, 19, 20, 21
CORES = 24  # 16 words: the cores that this process may use, a bit each
MASK = 40  # 16 words: those left for a helper
TEAM, SIZE, CLOCK, MEMBER = 56, 57, 58, 59  # addresses of the team's three functions, and of the members' loop
STARTED, LATE = 60, 61  # nanoseconds: when the team began, and when it was late the last time
HELPER = 64  # from here on, 8 words for each helper
ASLEEP, LOCK, THREAD, AVOIDS = range(4)

CLAIMED, OPEN, JOB = 1 << 20, 1 << 21, 1 << 22


@inner
def do_tasks(state, slot):
    """Do tasks of the job in ``state`` until none is left; ``slot`` is this thread's place among those of the job."""
    function, frame, tasks = (
        atomic_load(state, FUNCTION),
        atomic_load(state, FRAME),
        atomic_load(state, TASKS),
    )
    while True:
        task = atomic_add(state, NEXT, 1)
        if task >= tasks:
            return
        call(function, (frame, task, slot))
