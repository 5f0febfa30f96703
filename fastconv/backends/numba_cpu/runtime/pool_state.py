"""This file says where the numbers of a pool's job lie in memory, and has the loop in which threads do its tasks.

The numbers are 64-bit words. Words that different threads write at the same time lie in different cache lines.

Threads with an even place take tasks from the first on, the others from the last one down. Where two jobs in a row go
through memory in the same order, as a 1 x 1 convolution of few pixels and the depthwise one behind it, each of two
threads then reads mostly what it wrote itself, from its own core's cache.
"""

from __future__ import annotations

from fastconv.backends.compiler import inner
from fastconv.backends.numba_cpu.runtime.atomics import atomic_add, atomic_load
from fastconv.backends.numba_cpu.simd import call

STATUS = 0  # the number of helpers inside, the two flags below, and above them the number of the job
TAKEN = 8  # the number of tasks that threads have taken from the first on, and times `LAST` of those from the last on
FUNCTION, FRAME, TASKS, HELPERS, STOP, MODE = 16, 17, 18, 19, 20, 21
CORES = 24  # 16 words: the cores that this process may use, a bit each
MASK = 40  # 16 words: those left for a helper
TEAM, SIZE, CLOCK, NUMBER = 56, 57, 58, 59  # addresses of the team's four functions
MEMBER = 60  # address of the members' loop
STARTED, LATE = 61, 62  # nanoseconds: when the team began, and when it was late the last time
HELPER = 64  # from here on, 8 words for each helper
ASLEEP, LOCK, THREAD, AVOIDS = range(4)

LAST = 1 << 32
CLAIMED, OPEN, JOB = 1 << 20, 1 << 21, 1 << 22


@inner
def tasks_taken(taken):
    """Return how many tasks the word `TAKEN` counts: more than there are, where threads found none left."""
    return taken % LAST + taken // LAST


@inner
def do_tasks(state, slot):
    """Do tasks of the job in ``state`` until none is left; ``slot`` is this thread's place among those of the job."""
    function, frame, tasks = (
        atomic_load(state, FUNCTION),
        atomic_load(state, FRAME),
        atomic_load(state, TASKS),
    )
    from_last = slot % 2 == 1
    while True:
        taken = atomic_add(state, TAKEN, LAST if from_last else 1)
        if tasks_taken(taken) >= tasks:
            return
        call(function, (frame, tasks - 1 - taken // LAST if from_last else taken % LAST, slot))
