"""Calls into the OpenMP runtime that the host program computes with, by the addresses of its functions.

They are those of GCC's libgomp: ``GOMP_parallel(function, data, threads, flags)`` calls the function with the data once
on each thread of the caller's team and returns when all have.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.core.types import intp
from numba.extending import intrinsic

_I32, _I64 = ir.IntType(32), ir.IntType(64)


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

    return types.void(intp, intp, intp), generate


@intrinsic
def team_size(typing, most_threads):
    """Return the number of threads of the caller's team, by the address of ``omp_get_max_threads``."""

    def generate(context, builder, signature, arguments):
        return builder.sext(_call(builder, arguments[0], _I32), _I64)

    return intp(intp), generate


@intrinsic
def nanoseconds(typing, clock):
    """Return the time in nanoseconds, by the address of ``omp_get_wtime``."""

    def generate(context, builder, signature, arguments):
        seconds = _call(builder, arguments[0], ir.DoubleType())
        return builder.fptosi(builder.fmul(seconds, ir.Constant(ir.DoubleType(), 1e9)), _I64)

    return intp(intp), generate
