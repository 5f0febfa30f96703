"""This file reads and sets a thread's floating-point mode: how it rounds, and whether it takes denormals for zeros.

x86 keeps it in the register MXCSR (32 bits), ARM in FPCR (64 bits). `torch.set_flush_denormal` sets it in
the thread that calls it.
"""

from __future__ import annotations

from llvmlite import ir

from fastconv.backends.compiler import cgutils, intrinsic, types
from fastconv.backends.compiler.processor import architecture

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _x86_register(builder, name, place):
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, ir.IntType(8).as_pointer())])


@intrinsic
def floating_mode(typing):
    """Return this thread's floating-point mode as an integer; 0 where no way to ask is known."""

    def generate(context, builder, signature, arguments):
        if architecture() == "x86-64":
            place = cgutils.alloca_once(builder, _I32)
            _x86_register(builder, "stmxcsr", place)
            return builder.zext(builder.load(place), _I64)
        if architecture() == "arm64":
            kind = ir.FunctionType(_I64, [])
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.get.fpcr"), [])
        return ir.Constant(_I64, 0)

    return types.intp(), generate


@intrinsic
def set_floating_mode(typing, mode):
    """Set this thread's floating-point mode to ``mode``, an integer that `floating_mode` returned in another thread."""

    def generate(context, builder, signature, arguments):
        (mode,) = arguments
        if architecture() == "x86-64":
            place = cgutils.alloca_once(builder, _I32)
            builder.store(builder.trunc(mode, _I32), place)
            _x86_register(builder, "ldmxcsr", place)
        elif architecture() == "arm64":
            kind = ir.FunctionType(ir.VoidType(), [_I64])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.set.fpcr"), [mode])
        return context.get_dummy_value()

    return types.void(types.intp), generate
