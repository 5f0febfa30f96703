"""Numba and LLVM make object code of a kernel, which refers to nothing of Numba's.

Numba's own entry points, for Python and for C, would: they report errors to the interpreter, and kernels raise none.
It uses interfaces that Numba's manual doesn't describe (docs/private-interfaces.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher, _FunctionCompiler
from numba.core.registry import cpu_target
from numba.extending import intrinsic as numbas_intrinsic
from numba.extending import typeof_impl

from fastconv.backends.compiler.deferred import Deferred, Kernel, import_needed
from fastconv.backends.compiler.locks import also_hold
from fastconv.interfaces import require

if numba.config.DISABLE_JIT:
    raise ImportError("Numba's compiler is turned off: unset NUMBA_DISABLE_JIT")

# Methods of Numba's own classes that ours replace or call; Numba's manual describes none of them.
for _owner, _names in (
    (_FunctionCompiler, "_customize_flags _compile_core"),
    (Dispatcher, "add_overload _compile_for_args"),
    (CPUCodeLibrary, "_optimize_final_module _finalize_final_module _finalize_dynamic_globals"),
):
    require("numba", "0.68.1", *((_owner, _name) for _name in _names.split()))

_I64 = ir.IntType(64)

compiler_lock = global_compiler_lock
"""Numba's own lock."""
also_hold(compiler_lock)


@typeof_impl.register(Deferred)
def _type_of(value: Deferred, _: Any) -> Any:
    context = cpu_target.typing_context
    if value not in _made:
        make = intrinsic if value.emits else inner
        _made[value] = make(value.function, **value.options)
        context.refresh()  # which makes a new intrinsic known
    return context.resolve_value_type(_made[value])


_made: dict[Deferred, Any] = {}
"""What Numba sees in the place of deferred functions."""


def intrinsic(function: Callable[..., Any], **options: Any) -> Any:
    """Return what Numba makes of a function that emits instructions."""
    return numbas_intrinsic(**options)(function) if options else numbas_intrinsic(function)


def inner(function: Callable[..., Any], **options: Any) -> Any:
    """Return ``function`` for other compiled code to call; it goes into the machine code of its callers."""
    always = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    dispatcher = numba.njit(**always, **options)(function)
    compiler = dispatcher._compiler
    dispatcher._compiler = _InnerCompiler(
        compiler.py_func, compiler.targetdescr, compiler.targetoptions, compiler.locals, compiler.pipeline_class
    )
    dispatcher.add_overload = lambda result: dispatcher.overloads.update({tuple(result.signature.args): result})
    return dispatcher


class _InnerCompiler(_FunctionCompiler):
    """This compiler stops before it makes machine code; a dummy object stands for the code's address."""

    def _customize_flags(self, flags: Any) -> Any:
        flags.no_compile = True
        return flags

    def _compile_core(self, args: Any, return_type: Any) -> Any:
        result = super()._compile_core(args, return_type)._replace(entry_point=object())
        _only_for_linking(result.library)
        context = self.targetdescr.target_context
        context.insert_user_function(result.entry_point, result.fndesc, [result.library])
        return result


def _only_for_linking(library: CPUCodeLibrary) -> None:
    """Leave a library as it is, neither optimised nor compiled: a function that links it has both done for all of it.

    A first convolution takes 2.9 instead of 4.6 CPU seconds to compile so.
    """

    def finish() -> None:
        library._finalize_dynamic_globals()
        library._finalized = True

    library._optimize_final_module = lambda: None
    library._finalize_final_module = finish


def object_code(kernel: Kernel, name: str) -> bytes:
    """Return relocatable object code with one function, ``name``, whose arguments are 64-bit integers."""
    import_needed()
    with compiler_lock:
        arguments = tuple(types.intp if kind is int else kind.numba_type() for kind in kernel.arguments)
        dispatcher = inner(kernel.function)
        dispatcher.compile(arguments)
        result = dispatcher.overloads[arguments]
        codegen = cpu_target.target_context.codegen()
        library = codegen.create_library(name)
        module = library.create_ir_module(name)
        _define(module, name, result, returns=kernel.returns)
        library.add_ir_module(module)
        library.add_linking_library(result.library)
        optimize = library._optimize_final_module

        def hide_and_optimize() -> None:
            _hide_all_but(name, library._final_module)
            optimize()

        library._optimize_final_module = hide_and_optimize
        library._finalize_final_module = lambda: None
        library.finalize()
        return bytes(codegen._tm.emit_object(library._final_module))


def _hide_all_but(name: str, module: Any) -> None:
    """Make all symbols of a module its own, except one: Numba gives the same names to others in another process."""
    for each in (*module.functions, *module.global_variables):
        if each.name != name and not each.is_declaration:
            each.linkage = "internal"


def _define(module: ir.Module, name: str, result: Any, *, returns: bool) -> None:
    """Define the function that calls what Numba made, and leaves out its status."""
    context = result.target_context
    signature = ir.FunctionType(_I64 if returns else ir.VoidType(), [_I64] * len(result.signature.args))
    function = ir.Function(module, signature, name)
    builder = ir.IRBuilder(function.append_basic_block())
    made = context.declare_function(module, result.fndesc)
    _, value = context.call_conv.call_function(
        builder, made, result.signature.return_type, result.signature.args, function.args
    )
    if returns:
        builder.ret(context.cast(builder, value, result.signature.return_type, types.intp))
    else:
        builder.ret_void()
