"""This file gives a job to the OpenMP team of the host program, through the addresses of its runtime's functions.

They are the functions of GCC's libgomp: ``GOMP_parallel(function, data, threads, flags)`` calls the function with the
data once on each thread of the caller's team, and returns when all calls have returned.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from fastconv.backends.compiler import Kernel, compiled, inner, integers, intrinsic, types
from fastconv.backends.numba_cpu.runtime.atomics import atomic_load, atomic_store
from fastconv.backends.numba_cpu.runtime.floating_mode import floating_mode, set_floating_mode
from fastconv.backends.numba_cpu.runtime.pool_state import (
    CLOCK,
    HELPERS,
    LATE,
    MEMBER,
    MODE,
    NUMBER,
    SIZE,
    STARTED,
    TEAM,
    do_tasks,
)
from fastconv.backends.numba_cpu.simd import load_integer, store_integer
from fastconv.threads import HostTeam

_I32, _I64 = ir.IntType(32), ir.IntType(64)

_LATE_AFTER = 300_000
"""Time after which a member of the host's team counts as late, in nanoseconds: one that sleeps starts in 50,000 to
100,000."""

_WITHOUT_TEAM = 100_000_000
"""Time for which helpers do the jobs after a member was late, in nanoseconds. A late member costs 4 ms, so this way it
costs 4%."""


def _call(builder, address, result, *arguments):
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(builder.inttoptr(address, kind.as_pointer()), arguments)


@intrinsic
def run_team(typing, parallel, member, state):
    """Call the function at the address ``member`` with ``state`` on each thread of the caller's team."""

    def generate(context, builder, signature, arguments):
        parallel, member, state = arguments
        default = ir.Constant(_I32, 0)  # as many threads as the host's own operations have
        _call(builder, parallel, ir.VoidType(), member, state, default, default)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@intrinsic
def count_of(typing, function):
    """Return the C int that the function of no arguments at an address returns."""

    def generate(context, builder, signature, arguments):
        return builder.sext(_call(builder, arguments[0], _I32), _I64)

    return types.intp(types.intp), generate


@intrinsic
def nanoseconds(typing, clock):
    """Return the time in nanoseconds; ``clock`` is the address of ``omp_get_wtime``."""

    def generate(context, builder, signature, arguments):
        seconds = _call(builder, arguments[0], ir.DoubleType())
        return builder.fptosi(builder.fmul(seconds, ir.Constant(ir.DoubleType(), 1e9)), _I64)

    return types.intp(types.intp), generate


def _member(state):
    slot = count_of(load_integer(state, NUMBER))
    if slot > atomic_load(state, HELPERS):
        return
    now = nanoseconds(load_integer(state, CLOCK))
    if now - load_integer(state, STARTED) > _LATE_AFTER:
        atomic_store(state, LATE, now)
    before = floating_mode()
    set_floating_mode(atomic_load(state, MODE))
    do_tasks(state, slot)
    set_floating_mode(before)


@compiled
def member_address() -> Kernel:
    """Return the address of the loop of a member of the team."""
    return integers(_member)


@inner
def run_on_team(state, helpers):
    """Give the job in ``state`` to the host's team, and return whether the team did it.

    The team is used only if it has as many threads as the job or up to twice as many, and no member was late within the
    last `_WITHOUT_TEAM` nanoseconds.
    """
    parallel = atomic_load(state, TEAM)
    if parallel == 0:
        return False
    size = count_of(load_integer(state, SIZE))
    now = nanoseconds(load_integer(state, CLOCK))
    if not helpers < size <= 2 * (helpers + 1) or now - atomic_load(state, LATE) < _WITHOUT_TEAM:
        return False
    store_integer(state, STARTED, now)
    run_team(parallel, load_integer(state, MEMBER), state)
    return True


def join(words: np.ndarray, team: HostTeam | None) -> None:
    """Write the host's team, or that there is none, to a pool's state."""
    if team is not None:
        words[MEMBER] = member_address()
        words[SIZE], words[CLOCK], words[NUMBER] = team.size, team.clock, team.number
        words[LATE] = -_WITHOUT_TEAM
    # Last: another thread may launch a job at this moment.
    words[TEAM] = 0 if team is None else team.parallel
