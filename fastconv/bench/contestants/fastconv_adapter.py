"""fastconv's backends, through the API: on NumPy arrays, and on a GPU on torch's tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastconv
from fastconv import ConvGeometry, UnsupportedError, registry
from fastconv.bench.contestants import Call, NotOfferedError, as_numpy
from fastconv.bench.operands import Operands
from fastconv.bench.problems import Problem

_PRIMITIVES = {
    "forward": ("conv2d",),
    "backward": ("conv2d_input", "conv2d_weight"),
    "input": ("conv2d_input",),
    "weight": ("conv2d_weight",),
}


class Fastconv:
    """One backend."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def prepare(self, problem: Problem, operation: str, arrays: Operands) -> Call:
        if not isinstance(arrays.x, np.ndarray):
            import fastconv.torch.functional  # noqa: F401, fastconv's functions take tensors from then on
        call = self.call(problem, operation, arrays)
        if ":" in self.backend:
            # A backend that is told how to do things refuses what can't be done so.
            try:
                call()
            except UnsupportedError as error:
                raise NotOfferedError(str(error)) from error
        return call

    def way(self, problem: Problem, operation: str) -> str | None:
        """The algorithms that a backend with a choice of them takes."""
        g = problem.geometry
        if not isinstance(g, ConvGeometry) or not registry.get(self.backend).options:
            return None
        primitives = _PRIMITIVES[operation]
        how = (g.input_shape, g.weight_shape, g.stride, g.padding, g.dilation, g.groups)
        dtype = "float64" if problem.dtype == "float64" else "float32"
        found = [fastconv.explain(*how, operation=name, dtype=dtype, backend=self.backend) for name in primitives]
        chosen = [each.algorithm for each in found]
        return ", ".join(dict.fromkeys(chosen))

    def call(self, problem: Problem, operation: str, arrays: Operands) -> Call:
        """What is timed."""
        g, x, w, grad, backend = problem.geometry, arrays.x, arrays.w, arrays.grad, self.backend
        if isinstance(g, ConvGeometry):
            how = (g.stride, g.padding, g.dilation, g.groups)
            return {
                "forward": lambda: fastconv.conv2d(x, w, arrays.b, *how, backend=backend),
                "backward": lambda: fastconv.conv2d_backward(grad, x, w, *how, backend=backend),
                "input": lambda: fastconv.conv2d_input(x.shape, w, grad, *how, backend=backend),
                "weight": lambda: fastconv.conv2d_weight(x, w.shape, grad, *how, backend=backend),
            }[operation]
        pool = ((g.R, g.S), g.stride, g.padding)
        if problem.kind == "avg":
            mean = (*pool, g.ceil_mode, g.count_include_pad, g.divisor_override)
            return {
                "forward": lambda: fastconv.avg_pool2d(x, *mean, backend=backend),
                "backward": lambda: fastconv.avg_pool2d_backward(grad, x.shape, *mean, backend=backend),
            }[operation]
        largest = (*pool, g.dilation, g.ceil_mode)
        if operation == "forward":
            return lambda: fastconv.max_pool2d(x, *largest, backend=backend)
        indices = fastconv.max_pool2d(x, *largest, return_indices=True, backend=backend)[1]
        if isinstance(x, np.ndarray):
            return lambda: fastconv.max_pool2d_backward(grad, indices, x.shape, backend=backend)
        from torch import ops

        # What autograd calls: it knows the pooling that the indices are of.
        return lambda: ops.fastconv.max_pool2d_gradient(grad, indices, x.shape, *largest, backend)

    def arrays(self, result: Any) -> tuple[Any, ...]:
        return as_numpy(result)


def make(variant: str, threads: int) -> Fastconv:
    """The backend ``variant``; im2col's threads are those of the environment."""
    fastconv.set_num_threads(threads)
    if variant == "torch":
        import torch

        torch.set_num_threads(threads)
    return Fastconv(variant)
