"""An entry is a kernel that Python calls: a built-in function of integers, whose call takes some 50 ns.

CPython calls it by its convention METH_FASTCALL, with an array of objects. It leaves the interpreter, whose lock other
threads can then take, does its work and comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from fastconv.backends.compiler.builtin import builtin
from fastconv.backends.compiler.deferred import Kernel, cgutils, inner, intrinsic, types
from fastconv.backends.compiler.kernels import compiled, named

_I64 = ir.IntType(64)


class Entry:
    """This is a built-in function whose code is made, or read from disk, at its first call."""

    def __init__(self, body: Callable[[int], int]) -> None:
        """Take a function of the address of the arguments; it returns an integer."""
        self.__name__, self.__doc__ = body.__name__, body.__doc__
        work = inner(body)

        def make() -> Kernel:
            def entry(own, objects, count):
                integers = memory(count)
                for i in range(count):
                    store_integer(integers, i, integer_of(load_integer(objects, i)))
                state = leave()
                result = work(integers)
                come_back(state)
                return integer_object(result)

            return Kernel(named(entry, body), (int, int, int), returns=True)

        make.__module__ = body.__module__
        self.address = compiled(named(make, body))
        self.call: Callable[..., int] = self._first_call

    def _first_call(self, *arguments: int) -> int:
        address = self.address()
        if address == 0:  # this process lists kernels, and runs none
            return 1
        self.call = builtin(self.__name__, address, None)
        return self.call(*arguments)


def _python(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Call a function of CPython's stable interface."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


@intrinsic
def memory(typing, count):
    """Return the address of ``count`` 64-bit integers on the stack, valid until the calling function returns."""

    def generate(context, builder, signature, arguments):
        return builder.ptrtoint(builder.alloca(_I64, arguments[0]), _I64)

    return types.intp(types.intp), generate


@intrinsic
def load_integer(typing, base, index):
    """Load 64-bit integer ``index`` of the array at ``base``."""

    def generate(context, builder, signature, arguments):
        base, index = arguments
        return builder.load(builder.gep(builder.inttoptr(base, _I64.as_pointer()), [index]))

    return types.intp(types.intp, types.intp), generate


@intrinsic
def store_integer(typing, base, index, value):
    """Write ``value`` to 64-bit integer ``index`` of the array at ``base``."""

    def generate(context, builder, signature, arguments):
        base, index, value = arguments
        builder.store(value, builder.gep(builder.inttoptr(base, _I64.as_pointer()), [index]))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@intrinsic
def integer_of(typing, item):
    """Return the integer that the object at an address is."""

    def generate(context, builder, signature, arguments):
        return _python(builder, "PyLong_AsLongLong", _I64, arguments[0])

    return types.intp(types.intp), generate


@intrinsic
def integer_object(typing, value):
    """Return the address of a new reference to an integer of Python's."""

    def generate(context, builder, signature, arguments):
        return _python(builder, "PyLong_FromLongLong", _I64, arguments[0])

    return types.intp(types.intp), generate


@intrinsic
def leave(typing):
    """Give the interpreter's lock to other threads; `come_back` needs the state that is returned."""

    def generate(context, builder, signature, arguments):
        return _python(builder, "PyEval_SaveThread", _I64)

    return types.intp(), generate


@intrinsic
def come_back(typing, state):
    """Take the interpreter's lock again."""

    def generate(context, builder, signature, arguments):
        _python(builder, "PyEval_RestoreThread", ir.VoidType(), arguments[0])
        return context.get_dummy_value()

    return types.void(types.intp), generate
