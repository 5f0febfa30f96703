"""Kernels are compiled for a target of Numba's that knows numbers, tuples and loops, and nothing of arrays.

Numba's own target fills its registries with all of NumPy first, which takes half a second, and tries a dozen rules of
arrays for each sum of two integers. Ours has what Numba registers for all targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

# What these modules register is all that kernels need.
import numba.cpython.builtins
import numba.cpython.numbers
import numba.cpython.rangeobj
import numba.cpython.tupleobj  # noqa: F401
from numba.core import types, typing
from numba.core.cpu import CPUContext
from numba.core.registry import CPUTarget
from numba.core.target_extension import CPU, dispatcher_registry, jit_registry, target_registry
from numba.core.typing import mathdecl, templates
from numba.cpython import mathimpl

from fastconv.backends.compiler.object_code.inner import Inner
from fastconv.backends.compiler.object_code.library import KernelLibrary
from fastconv.backends.compiler.object_code.passes import KernelCompiler

_NAME = "fastconv_kernels"


class _Kernels(CPU):
    """This class stands for the target in Numba's registries."""


class _FewRules(templates.RegistryLoader):
    """This gives the rules that Numba has registered, without the 250 of the methods of texts, lists and dicts.

    Kernels have no such values, and the first of these rules fills the registries of Numba's own target.
    """

    def new_registrations(self, name: str) -> Iterator[Any]:
        """Return the rules of a kind that have been registered since the last time."""
        for each in super().new_registrations(name):
            if not (name == "attributes" and issubclass(each, templates._OverloadAttributeTemplate)):
                yield each


class _Typing(typing.Context):
    def init(self) -> None:
        """Make what reads the registry of all targets."""
        super().init()
        self._registries[templates.builtin_registry] = _FewRules(templates.builtin_registry)

    def load_additional_registries(self) -> None:
        """Load the rules of Python's mathematical functions; those of numbers, tuples and loops are built in."""
        self.install_registry(mathdecl.registry)

    def resolve_function_type(self, function: Any, arguments: Any, named: Any) -> Any:
        """Return the signature of a call, which is found once for operators and intrinsics."""
        if named or not isinstance(function, types.Function):
            return super().resolve_function_type(function, arguments, named)
        key = function, arguments
        if key not in _signatures:
            found = super().resolve_function_type(function, arguments, named)
            if found is None:
                return None
            _signatures[key] = found, function.get_impl_key(found)
        signature, lowering = _signatures[key]
        # A function's type is one object for all targets; where Numba's own has used it since, it lowers as that does.
        function._impl_keys[signature.args] = lowering
        return signature


_signatures: dict[tuple[Any, Any], tuple[Any, Any]] = {}
"""The signature of each call, and what lowers it."""


class _Lowering(CPUContext):
    def init(self) -> None:
        """Make what compiles modules."""
        super().init()
        self._internal_codegen._library_class = KernelLibrary

    def load_additional_registries(self) -> None:
        """Load how the same functions are lowered."""
        self.install_registry(mathimpl.registry)

    def refresh(self) -> None:
        """Load what was registered since the last time: Numba asks at each call of an intrinsic."""
        global _registered
        registries = *self._registries, *self.typing_context._registries
        registered = [
            len(each) for registry in registries for each in vars(registry).values() if isinstance(each, list)
        ]
        if registered != _registered:
            _registered = registered
            super().refresh()

    def post_lowering(self, module: Any, library: Any) -> None:
        """Leave out Numba's runtime, which counts references to arrays."""

    def get_abi_sizeof(self, kind: Any) -> int:
        """Return the size of a type, for which LLVM reads a module each time."""
        if kind not in _sizes:
            _sizes[kind] = super().get_abi_sizeof(kind)
        return _sizes[kind]


_registered: list[int] | None = None
"""How many rules and lowerings Numba's registries had at the last time."""
_sizes: dict[Any, int] = {}


class _Target(CPUTarget):
    @cached_property
    def typing_context(self) -> Any:
        return _Typing()

    @cached_property
    def target_context(self) -> Any:
        return _Lowering(self.typing_context, _NAME)


class InnerOfKernel(Inner):
    """This is a function for kernels to call."""

    targetdescr = _Target(_NAME)

    def __init__(self, function: Any, **options: Any) -> None:
        """Take further options of `numba.njit`."""
        super().__init__(function, KernelCompiler, **options)


def _jit(**options: Any) -> Callable[..., Any]:
    """Return a decorator, as `numba.jit` does: Numba compiles its own functions for the target with it."""
    return partial(InnerOfKernel, **options)


target_registry[_NAME] = _Kernels
dispatcher_registry[_Kernels] = InnerOfKernel
jit_registry[_Kernels] = _jit
kernels_target = InnerOfKernel.targetdescr
