"""Kernels take those of Numba's passes that change something in them.

Kernels have no closures, no arrays, no exceptions and no NumPy: the passes for these would find nothing, and after each
pass Numba analyses the function again, a tenth of the time to compile.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import PassManager
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import (
    DeadBranchPrune,
    FixupArgs,
    GenericRewrites,
    IRProcessing,
    ReconstructSSA,
    RewriteSemanticConstants,
    TranslateByteCode,
)

_PASSES = (
    *(TranslateByteCode, FixupArgs, IRProcessing, RewriteSemanticConstants, DeadBranchPrune, GenericRewrites),
    *(ReconstructSSA, NopythonTypeInference, PreLowerStripPhis, IRLegalization, NativeLowering, NoPythonBackend),
)


@cache
def _passes() -> PassManager:
    passes = PassManager("kernels")
    for each in _PASSES:
        passes.add_pass(each, each.__name__)
    passes.finalize()
    return passes


class KernelCompiler(CompilerBase):
    """This compiles a function by the passes that kernels need."""

    def define_pipelines(self) -> list[Any]:
        """Return the passes."""
        return [_passes()]
