"""The target is where kernels run: an NVIDIA GPU, or Numba's simulator. No other file imports `numba.cuda`.

A kernel body is a plain Python function; what it calls is either one too (`device`), or a primitive that is LLVM on
the GPU (`intrinsics`) and Python in the simulator (`simulated`). The environment's ``NUMBA_ENABLE_CUDASIM=1``, set
before Numba is imported, chooses the simulator, whose memory is the processor's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from numba import config, cuda, types

from fastconv.interfaces import require

__all__ = ["SIMULATED", "cuda", "device", "primitives", "types"]

Function = TypeVar("Function", bound=Callable[..., Any])

SIMULATED = bool(config.ENABLE_CUDASIM)

if SIMULATED or TYPE_CHECKING:
    from fastconv.backends.numba_cuda import simulated as primitives

    if SIMULATED:
        from numba.cuda.simulator import kernelapi

        require("numba-cuda", "0.30.4", (kernelapi, "FakeCUDAShared"))
        kernelapi.FakeCUDAShared = primitives.Shared

    def device(function: Function) -> Function:
        """Marks a function that kernels call."""
        return function

else:
    from numba.cuda.extending import register_jitable as device

    from fastconv.backends.numba_cuda import intrinsics as primitives
