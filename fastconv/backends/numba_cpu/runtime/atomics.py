"""This file gives compiled code atomic integers, a pause for threads that wait, and locks that threads sleep on.

A lock is one of CPython's (``PyThread_allocate_lock``, part of its stable interface). Compiled code takes and frees it
through its address: sleeping on it needs neither the interpreter nor the interpreter's own lock.
"""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import ir

from fastconv.backends.compiler import cgutils, intrinsic, types
from fastconv.backends.compiler.processor import architecture

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _integer(builder: Any, base: Any, index: Any) -> Any:
    return builder.gep(builder.inttoptr(base, _I64.as_pointer()), [index])


@intrinsic
def atomic_load(typing, base, index):
    """Return 64-bit integer ``index`` of the array at ``base``."""

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_integer(builder, *arguments), "seq_cst", 8)

    return types.intp(types.intp, types.intp), generate


@intrinsic
def atomic_store(typing, base, index, value):
    """Write the integer; a thread that reads this value sees all that this thread wrote before."""

    def generate(context, builder, signature, arguments):
        base, index, value = arguments
        builder.store_atomic(value, _integer(builder, base, index), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@intrinsic
def atomic_add(typing, base, index, value):
    """Add ``value`` to the integer, and return what it was before."""

    def generate(context, builder, signature, arguments):
        base, index, value = arguments
        return builder.atomic_rmw("add", _integer(builder, base, index), value, "seq_cst")

    return types.intp(types.intp, types.intp, types.intp), generate


@intrinsic
def atomic_swap(typing, base, index, old, new):
    """Replace the integer by ``new`` if it is ``old``, and return whether it was."""

    def generate(context, builder, signature, arguments):
        base, index, old, new = arguments
        pair = builder.cmpxchg(_integer(builder, base, index), old, new, "seq_cst", "seq_cst")
        return builder.extract_value(pair, 1)

    return types.boolean(types.intp, types.intp, types.intp, types.intp), generate


@intrinsic
def pause(typing):
    """Pause for some tens of nanoseconds, in which the core's other thread goes first."""

    def generate(context, builder, signature, arguments):
        nothing = ir.FunctionType(ir.VoidType(), [])
        if architecture() == "x86-64":
            builder.call(cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.pause"), [])
        elif architecture() == "arm64":
            # Not as assembly, which LLVM would need a parser for, and llvmlite sets up none.
            barrier = ir.FunctionType(ir.VoidType(), [_I32])
            whole_system = ir.Constant(_I32, 15)
            builder.call(cgutils.get_or_insert_function(builder.module, barrier, "llvm.aarch64.isb"), [whole_system])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def acquire(typing, lock, function):
    """Sleep until the lock is free, and take it; ``function`` must be `ACQUIRE`."""

    def generate(context, builder, signature, arguments):
        lock, function = arguments
        kind = ir.FunctionType(_I32, [_I64, _I32])
        builder.call(builder.inttoptr(function, kind.as_pointer()), [lock, ir.Constant(_I32, 1)])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@intrinsic
def release(typing, lock, function):
    """Free the lock; ``function`` must be `RELEASE`."""

    def generate(context, builder, signature, arguments):
        lock, function = arguments
        kind = ir.FunctionType(ir.VoidType(), [_I64])
        builder.call(builder.inttoptr(function, kind.as_pointer()), [lock])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


def _python_function(name: str) -> int:
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


ACQUIRE, RELEASE = _python_function("PyThread_acquire_lock"), _python_function("PyThread_release_lock")
_ALLOCATE = ctypes.PYFUNCTYPE(ctypes.c_void_p)(_python_function("PyThread_allocate_lock"))
_TAKE = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(ACQUIRE)


def taken_lock() -> int:
    """Return the address of a new lock that is already taken, so that the first thread to acquire it sleeps."""
    lock = _ALLOCATE()
    if not lock:
        raise MemoryError("no memory for a lock")
    _TAKE(lock, 1)
    return lock
