"""The operations of batch normalisation, and the backend's `BatchNorm` that runs them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.backends.batch_norm import BatchNorm, NormGradients, NormOperands
from fastconv.backends.numba_cpu.fused.batch_norm.arguments import BatchNormArguments
from fastconv.backends.numba_cpu.fused.batch_norm.backward import backward_task
from fastconv.backends.numba_cpu.fused.batch_norm.forward import forward_task
from fastconv.backends.numba_cpu.fused.formulas.activations import NONE, is_clamp
from fastconv.backends.numba_cpu.runtime import buffers
from fastconv.backends.numba_cpu.runtime.addresses import address
from fastconv.backends.numba_cpu.runtime.program import Operation, Place, ProgramBuilder, Step, Workspace
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.threads import get_num_threads

_ONE_THREAD = 1 << 14
"""Size of the largest array that one thread does alone, in numbers: waking a helper would take longer."""

_READ = "x", "residual", "gamma", "beta", "statistics", "result"
_FORWARD = BatchNormArguments.positions(*_READ, "running_mean", "running_var", "factors", "before")
_BACKWARD = BatchNormArguments.positions(*_READ, "x_grad", "residual_grad", "gamma_grad", "beta_grad")
(_WORKSPACE,) = BatchNormArguments.positions("workspace")


class NormPass(Operation):
    """This operation is one direction of a batch normalisation of images (N, C, plane).

    Its operands are those of `NormOperands`, then forwards the result, the running means and variances, the array of
    momentum and eps, and memory (3, C) for the running statistics and beta as they were; backwards those of
    `NormGradients`.
    """

    def __init__(
        self,
        simd: Simd,
        shape: tuple[int, int, int],
        activation: str | None,
        *,
        backwards: bool,
        factors: np.ndarray | None = None,
    ) -> None:
        """Prepare the pass; with ``factors`` the array of momentum and eps is this one, and no operand."""
        super().__init__()
        N, C, plane = shape
        make = backward_task if backwards else forward_task
        self._args, self._factors = BatchNormArguments.new(N=N, C=C, plane=plane), factors
        if factors is not None:
            self._args["factors"] = factors.ctypes.data
        self._task, self._channels = make(activation or NONE)(simd), C
        self._positions = _BACKWARD if backwards else _FORWARD
        self._small = N * C * plane <= _ONE_THREAD

    @property
    def nbytes(self) -> int:
        return self._args.nbytes

    def emit(self, program: ProgramBuilder, *places: Place | None, watch: bool = True) -> None:
        threads = 1 if self._small else get_num_threads()
        workspace = Workspace(64 * threads, ((_WORKSPACE, 0),))
        steps = [Step(self._task, self._channels, threads)]
        program.add(self._args, zip(self._positions, places, strict=True), steps, workspace)


@lru_cache(maxsize=4096)
def momentum_and_eps(dtype: str, momentum: float, eps: float) -> np.ndarray:
    """Return momentum and eps as an array, to which the forward pass has a pointer."""
    return np.array([momentum, eps], dtype)


class NumbaBatchNorm(BatchNorm):
    """Runs the two operations on arrays or tensors."""

    def __init__(self, simd: Simd, shape: tuple[int, int, int], activation: str | None) -> None:
        """Prepare both directions for images of ``shape`` (N, C, plane); kernels are compiled when they first run."""
        self._simd, self._shape, self._activation = simd, shape, activation
        self.reads_result = is_clamp(activation or NONE)
        self._passes: dict[bool, NormPass] = {}

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        return buffers.empty(shape, dtype)

    def _run(self, backwards: bool, operands: tuple[Any, ...]) -> None:
        found = self._passes.get(backwards)
        if found is None:
            found = NormPass(self._simd, self._shape, self._activation, backwards=backwards)
            self._passes[backwards] = found
        found.program(len(operands)).run_at([address(each) for each in operands])

    def forward(
        self, at: NormOperands, result: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> None:
        self._run(
            False, (*at, result, running_mean, running_var, momentum_and_eps(self._simd.dtype, momentum, eps), None)
        )

    def backward(self, at: NormOperands, gradients: NormGradients) -> None:
        self._run(True, (*at, *gradients))
