"""This file lets compiled code ask the system for a thread's core, choose its cores, and yield."""

from __future__ import annotations

import os

from llvmlite import ir

from fastconv.backends.compiler import cgutils, intrinsic, types


@intrinsic
def current_core(typing):
    """Return the number of the core that this thread runs on."""

    def generate(context, builder, signature, arguments):
        function = ir.FunctionType(ir.IntType(32), [])
        core = builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_getcpu"), [])
        return builder.sext(core, ir.IntType(64))

    return types.intp(), generate


@intrinsic
def keep_to(typing, thread, size, mask):
    """Let ``thread`` run only on the cores of a mask of ``size`` bytes at the address ``mask``."""

    def generate(context, builder, signature, arguments):
        thread, size, mask = arguments
        function = ir.FunctionType(ir.IntType(32), [ir.IntType(32), ir.IntType(64), ir.IntType(64)])
        keep = cgutils.get_or_insert_function(builder.module, function, "sched_setaffinity")
        builder.call(keep, [builder.trunc(thread, ir.IntType(32)), size, mask])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@intrinsic
def yield_core(typing):
    """Let other threads run on this core, on POSIX systems."""

    def generate(context, builder, signature, arguments):
        if os.name == "posix":
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate
