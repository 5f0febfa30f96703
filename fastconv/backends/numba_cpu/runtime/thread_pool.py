"""This file shares the tasks of a job between threads, and never waits for a thread that has not started.

A job is a compiled function and a number of tasks. The caller opens the job, wakes sleeping helpers, and does tasks
itself until none is left; helpers that start in time take tasks too, by one counter. At the end the caller closes the
job and waits only for helpers that are in the middle of a task. An OpenMP team would wait for all its members: with a
busy process on one of two cores, torch's `conv2d` of LeNet's second layer takes 4 times as long in the mean and 24 ms
at the 99th percentile, this pool 1.9 times and 4 ms; undisturbed, both threads do half of the work each either way.

Helpers are threads of Python that never return to the interpreter. They run one compiled loop: they look for work for
some tens of microseconds after each job, so that calls in a row find them awake, and then sleep. They avoid the core
that the caller was on (Linux), since the system tends to wake a thread on the core of the thread that wakes it.
Alternating with torch's operations, whose own workers spin for 8 ms after each, a job of 133 us takes 160; without
that, 285.

Where the host program computes with torch, the job goes to the team of OpenMP threads that torch keeps for its own
operations (`host_team`): these threads spin on the other cores, and helpers would have to take the cores from them. On
two cores ResNet-18, converted, takes 14.4 ms so for one image of 224 x 224, and 18 with helpers: timed by hand, each
way in a process of its own, the second after ``fastconv.threads.host_team = None``. The caller has to wait for the
whole team. So after a member was late, because another process kept its core busy, helpers do the jobs of the next
tenth of a second.

One job runs at a time. A caller that finds the pool taken, by another thread or by itself, does all tasks alone, so
jobs can't block each other or nest. None of Numba's threading layers is used: they may be in use beside this one.

Helpers compute in the caller's floating-point mode (`torch.set_flush_denormal` sets the caller's alone).
A job's results must not depend on which thread does which task; then they are the same for any number of threads.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import sys
import threading
import time
from typing import Any

import numpy as np

from fastconv import threads as settings
from fastconv.backends.compiler import inner
from fastconv.backends.compiler.entry import Entry
from fastconv.backends.numba_cpu.runtime.atomics import (
    ACQUIRE,
    RELEASE,
    acquire,
    atomic_add,
    atomic_load,
    atomic_store,
    atomic_swap,
    pause,
    release,
    taken_lock,
)
from fastconv.backends.numba_cpu.runtime.cores import current_core, keep_to, yield_core
from fastconv.backends.numba_cpu.runtime.floating_mode import floating_mode, set_floating_mode
from fastconv.backends.numba_cpu.runtime.host_team import join, run_on_team
from fastconv.backends.numba_cpu.runtime.pool_state import (
    ASLEEP,
    AVOIDS,
    CLAIMED,
    CORES,
    FRAME,
    FUNCTION,
    HELPER,
    HELPERS,
    JOB,
    LOCK,
    MASK,
    MODE,
    OPEN,
    STATUS,
    STOP,
    TAKEN,
    TASKS,
    THREAD,
    do_tasks,
    tasks_taken,
)
from fastconv.backends.numba_cpu.simd import call, load_integer, store_integer
from fastconv.threads import get_num_threads, usable_cores

_LOOKS = 2000
"""Number of times that a helper looks for work before it sleeps: 50 us at 25 ns each."""

_MOST_HELPERS = 1023
"""Most helpers of a pool: its state has words for that many."""

_LINUX = sys.platform == "linux"


@inner
def _wake(state, helper, release_lock):
    """Wake a sleeping helper, on another core than this one."""
    base = HELPER + 8 * helper
    if not (atomic_load(state, base + ASLEEP) == 1 and atomic_swap(state, base + ASLEEP, 1, 0)):
        return
    if _LINUX:
        core = current_core()
        if core != load_integer(state, base + AVOIDS) and core < 1024:
            store_integer(state, base + AVOIDS, core)
            left = 0
            for word in range(16):
                cores = load_integer(state, CORES + word)
                if word == core // 64:
                    cores &= ~(1 << (core % 64))
                store_integer(state, MASK + word, cores)
                left |= cores
            if left != 0:
                keep_to(load_integer(state, base + THREAD), 128, state + 8 * MASK)
    release(load_integer(state, base + LOCK), release_lock)


@inner
def launch(state, function, frame, tasks, helpers, release_lock):
    """Do all the tasks of a job, with the help of at most ``helpers`` threads."""
    status = atomic_load(state, STATUS)
    if helpers == 0 or tasks <= 1 or status % JOB != 0 or not atomic_swap(state, STATUS, status, status + CLAIMED):
        for task in range(tasks):
            call(function, (frame, task, 0))
        return
    atomic_store(state, FUNCTION, function)
    atomic_store(state, FRAME, frame)
    atomic_store(state, TASKS, tasks)
    atomic_store(state, HELPERS, helpers)
    atomic_store(state, MODE, floating_mode())
    atomic_store(state, TAKEN, 0)
    if run_on_team(state, helpers):
        atomic_add(state, STATUS, JOB - CLAIMED)
        return
    atomic_add(state, STATUS, OPEN - CLAIMED)
    for helper in range(min(helpers, tasks - 1)):
        _wake(state, helper, release_lock)
    do_tasks(state, 0)
    atomic_add(state, STATUS, CLAIMED - OPEN)
    looks = 0
    while atomic_load(state, STATUS) % CLAIMED != 0:
        pause()
        looks += 1
        if looks % 4096 == 0:
            yield_core()
    atomic_add(state, STATUS, JOB - CLAIMED)


@Entry
def help_along(arguments):
    """Run a helper: take part in jobs, sleep after some looks without work, and return once the pool stops.

    The arguments are the pool's state, the helper's number, the number of looks, and `ACQUIRE`.
    """
    state, helper = load_integer(arguments, 0), load_integer(arguments, 1)
    looks, acquire_lock = load_integer(arguments, 2), load_integer(arguments, 3)
    base = HELPER + 8 * helper
    while True:
        idle = 0
        while idle < looks and atomic_load(state, STOP) == 0:
            status = atomic_load(state, STATUS)
            inside = (
                status & OPEN != 0
                and helper < atomic_load(state, HELPERS)
                and tasks_taken(atomic_load(state, TAKEN)) < atomic_load(state, TASKS)
                # The number of the job is part of the status: a job that has ended in between can't be entered.
                and atomic_swap(state, STATUS, status, status + 1)
            )
            if inside:
                set_floating_mode(atomic_load(state, MODE))
                do_tasks(state, 1 + helper)
                atomic_add(state, STATUS, -1)
                idle = 0
            else:
                pause()
                idle += 1
        atomic_store(state, base + ASLEEP, 1)
        if atomic_load(state, STOP) != 0:
            return 0
        acquire(load_integer(state, base + LOCK), acquire_lock)


@Entry
def wake_up(arguments):
    """Call `_wake` with the arguments."""
    _wake(load_integer(arguments, 0), load_integer(arguments, 1), load_integer(arguments, 2))
    return 0


class Pool:
    """Runs jobs on helper threads, which start when they are first needed."""

    def __init__(self) -> None:
        self.serving = 0
        self._team: settings.HostTeam | None = None
        self._asked = 0
        self._counting = _thread.allocate_lock()
        words = np.zeros(HELPER + 8 * _MOST_HELPERS + 8, np.int64)
        first = -words.ctypes.data % 64 // 8
        self._words = words[first:]
        self.state = self._words.ctypes.data

    def helpers(self, threads: int, tasks: int) -> int:
        """Return how many helpers a job of ``tasks`` tasks can use beside its caller; start those that are missing."""
        helpers = min(threads - 1, tasks - 1, _MOST_HELPERS)
        if helpers > self._asked:
            self._start(helpers)
        if self._team is not settings.host_team:
            team = settings.host_team
            join(self._words, team)
            self._team = team  # after it: an interrupt leaves it to the next call
        return max(helpers, 0)

    def _start(self, count: int) -> None:
        """Start helpers until there are ``count``.

        A signal handler may raise anywhere in here, which leaves nothing half done: each thread that exists takes its
        number by itself, and where a second attempt starts too many threads, the surplus ones end at once.
        """
        self._note_cores()
        for _ in range(count - self.serving):
            # Where the system allows no further thread, those that exist do the work.
            try:
                _thread.start_new_thread(self._serve, (count,))
            except RuntimeError:
                return
        self._asked = count

    def _note_cores(self) -> None:
        cores = np.zeros(16, np.uint64)
        for core in usable_cores():
            if core < 1024:
                cores[core // 64] |= np.uint64(1 << core % 64)
        self._words.view(np.uint64)[CORES : CORES + 16] = cores

    def _serve(self, count: int) -> None:
        # Only helpers take this lock, and no signal interrupts them.
        with self._counting:
            if self.serving >= count:
                return
            helper = self.serving
            self.serving += 1
        threading.current_thread().name = f"fastconv-{helper}"
        if _LINUX:
            # The thread that started this one may be bound to a single core.
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, usable_cores())
        base = HELPER + 8 * helper
        self._words[base + LOCK] = taken_lock()
        self._words[base + THREAD] = threading.get_native_id()
        self._words[base + AVOIDS] = -1
        help_along.call(self.state, helper, _LOOKS, ACQUIRE)
        with self._counting:
            self.serving -= 1

    def stop(self) -> None:
        """End the helpers, after the calls in progress."""
        self._words[STOP] = 1
        for _ in range(1000):
            for helper in range(self._asked):
                wake_up.call(self.state, helper, RELEASE)
            if self.serving == 0:
                return
            time.sleep(0.001)


pool = Pool()

_ALONE = 1_000_000
"""Size of the largest job for one thread, in floating-point operations; a byte moved counts as 20 of them. It takes
less than 15 us, and waking another thread takes about as long."""


def threads_for(flops: int) -> int:
    """Return how many threads should do a job of ``flops`` floating-point operations, given the time to wake one."""
    return 1 if is_short(flops) else min(get_num_threads(), _MOST_HELPERS + 1)


def is_short(flops: int) -> bool:
    """Return True for a job that one thread does in less time than it takes to wake another."""
    return flops <= _ALONE


def _renew(*_: Any) -> None:
    """Make a new pool in a forked process, which has none of the helpers and perhaps a copy of an open job."""
    global pool
    pool = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


@atexit.register
def _stop() -> None:
    """Stop the helpers of this process's pool, which is a new one after a fork."""
    pool.stop()
