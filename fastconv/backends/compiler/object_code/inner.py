"""Functions that only other compiled code calls get no machine code of their own, but are part of their callers'."""

from __future__ import annotations

from typing import Any

from numba.core.dispatcher import Dispatcher, _FunctionCompiler
from numba.core.registry import CPUDispatcher

from fastconv.backends.compiler.object_code.library import only_for_linking
from fastconv.interfaces import require

# Methods of Numba's own classes that ours replace or call; Numba's manual describes none of them.
for _owner, _names in (
    (_FunctionCompiler, "_customize_flags _compile_core"),
    (Dispatcher, "add_overload _compile_for_args"),
):
    require("numba", "0.68.1", *((_owner, _name) for _name in _names.split()))

_ALWAYS = {
    "nopython": True,
    "nogil": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


class Inner(CPUDispatcher):
    """This is a function for compiled code of Numba's own target to call."""

    def __init__(self, function: Any, passes: Any = None, **options: Any) -> None:
        """Take what compiles the function, if not Numba's own compiler, and further options of `numba.njit`."""
        super().__init__(function, targetoptions=_ALWAYS | options)
        passes = passes or self._compiler.pipeline_class
        self._compiler: Any = _InnerCompiler(function, self.targetdescr, self.targetoptions, self.locals, passes)

    def add_overload(self, result: Any) -> None:
        """Keep what was compiled; there is no machine code that Python could call."""
        self.overloads[tuple(result.signature.args)] = result


class _InnerCompiler(_FunctionCompiler):
    """This compiler stops before it makes machine code; a dummy object stands for the code's address."""

    def _customize_flags(self, flags: Any) -> Any:
        flags.no_compile = True
        return flags

    def _compile_core(self, args: Any, return_type: Any) -> Any:
        result = super()._compile_core(args, return_type)._replace(entry_point=object())
        only_for_linking(result.library)
        context = self.targetdescr.target_context
        context.insert_user_function(result.entry_point, result.fndesc, [result.library])
        return result
