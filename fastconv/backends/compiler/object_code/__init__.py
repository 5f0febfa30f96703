"""Numba and LLVM make object code of a kernel, which refers to nothing of Numba's.

Numba's own entry points, for Python and for C, would: they report errors to the interpreter, and kernels raise none.
It uses interfaces that Numba's manual doesn't describe (docs/private-interfaces.md).

inner.py     functions that only compiled code calls
passes.py    Numba's passes that kernels need
library.py   how LLVM optimises them
target.py    what Numba knows of types and operations when it compiles kernels
"""

from __future__ import annotations

import gc
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic, typeof_impl

from fastconv.backends.compiler.deferred import Deferred, Kernel, import_needed
from fastconv.backends.compiler.locks import also_hold
from fastconv.backends.compiler.object_code.inner import Inner
from fastconv.backends.compiler.object_code.target import InnerOfKernel, kernels_target

if numba.config.DISABLE_JIT:
    raise ImportError("Numba's compiler is turned off: unset NUMBA_DISABLE_JIT")

_I64 = ir.IntType(64)

compiler_lock = global_compiler_lock
"""Numba's own lock."""
also_hold(compiler_lock)

_caller: type[Inner] = Inner
"""What inner functions become: functions for kernels while one is compiled, else for Numba's own target."""


@typeof_impl.register(Deferred)
def _type_of(value: Deferred, _: Any) -> Any:
    context = _caller.targetdescr.typing_context
    if value.emits:
        if value not in _intrinsics:
            make = intrinsic(**value.options) if value.options else intrinsic
            _intrinsics[value] = make(value.function)
            context.refresh()  # which makes it known
        return context.resolve_value_type(_intrinsics[value])
    key = value, _caller
    if key not in _functions:
        _functions[key] = _caller(value.function, **value.options)
    return context.resolve_value_type(_functions[key])


# What Numba sees in the place of deferred functions.
_intrinsics: dict[Deferred, Any] = {}
_functions: dict[tuple[Deferred, type[Inner]], Inner] = {}


def object_code(kernel: Kernel, name: str) -> bytes:
    """Return relocatable object code with one function, ``name``, whose arguments are 64-bit integers."""
    global _caller
    import_needed()
    with compiler_lock:
        before, _caller = _caller, InnerOfKernel
        # Numba makes many objects that refer to each other. To search for those that nothing else refers to, among all
        # of torch's and Numba's, takes an eighth of the time to compile.
        collects = gc.isenabled()
        gc.disable()
        try:
            return _object_code(kernel, name)
        finally:
            _caller = before
            if collects:
                gc.enable()


def _object_code(kernel: Kernel, name: str) -> bytes:
    arguments = tuple(map(_numba_type, kernel.arguments))
    dispatcher = InnerOfKernel(kernel.function)
    dispatcher.compile(arguments)
    result = dispatcher.overloads[arguments]
    codegen = kernels_target.target_context.codegen()
    library = codegen.create_library(name)
    module = library.create_ir_module(name)
    _define(module, name, result, kernel)
    library.add_ir_module(module)
    library.add_linking_library(result.library)
    library.finalize()
    return library.object_code(name)


def _numba_type(argument: Any) -> Any:
    if not isinstance(argument, type):
        return kernels_target.typing_context.resolve_value_type(argument)
    named: Any = argument
    return types.intp if argument is int else named.numba_type()


def _define(module: ir.Module, name: str, result: Any, kernel: Kernel) -> None:
    """Define the function that calls what Numba made, and leaves out its status."""
    context, kinds = result.target_context, result.signature.args
    given = [isinstance(argument, type) for argument in kernel.arguments]
    signature = ir.FunctionType(_I64 if kernel.returns else ir.VoidType(), [_I64] * sum(given))
    function = ir.Function(module, signature, name)
    builder = ir.IRBuilder(function.append_basic_block())
    made = context.declare_function(module, result.fndesc)
    integers = iter(function.args)
    values = [
        next(integers) if is_given else context.get_constant_generic(builder, kind, constant)
        for is_given, kind, constant in zip(given, kinds, kernel.arguments, strict=True)
    ]
    _, value = context.call_conv.call_function(builder, made, result.signature.return_type, kinds, values)
    if kernel.returns:
        builder.ret(context.cast(builder, value, result.signature.return_type, types.intp))
    else:
        builder.ret_void()
