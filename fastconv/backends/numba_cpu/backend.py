"""The backend `numba`: the contract's primitives, each as a plan made once and run many times."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import numpy as np

from fastconv.backends.base import Backend
from fastconv.backends.columns import scatter
from fastconv.backends.numba_cpu import average_pooling, buffers, instruction_set, max_pooling, plans
from fastconv.backends.numba_cpu.instruction_set import InstructionSet
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.quiet import QUIET
from fastconv.geometry import ConvGeometry, PoolGeometry
from fastconv.threads import get_num_threads

_LINE = 4096


def _contiguous(array: np.ndarray) -> np.ndarray:
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


class NumbaCpu(Backend):
    """Vectors, tiles and threads; ``instructions`` are the processor's best by default."""

    summary: ClassVar[str] = "vector kernels on all cores, written in Python (Numba)"

    def __init__(
        self, name: str = "numba", instructions: InstructionSet | None = None, algorithm: str | None = None
    ) -> None:
        self.name = name
        self.algorithm = algorithm
        self._instructions = instructions

    @property
    def instructions(self) -> InstructionSet:
        """What the kernels are written for."""
        if self._instructions is None:
            self._instructions = instruction_set.chosen()
        return self._instructions

    def unavailable(self) -> str | None:
        try:
            instruction_set.chosen()
        except ValueError as error:
            return str(error)
        return None

    def _simd(self, dtype: np.dtype) -> Simd:
        return _simd(self.instructions, dtype)

    def conv2d(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        y = buffers.empty(g.output_shape, x.dtype)
        if y.size:
            bias = None if b is None else _contiguous(b)
            plans.forward(self._simd(x.dtype), g, self.algorithm).run(_contiguous(x), _contiguous(w), bias, y)
        return y

    def conv2d_input(self, grad: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        with np.errstate(all="ignore"):
            finite = np.isfinite(np.add.reduce(w, axis=None))
        if not finite:
            return _input_adjoint_of_infinities(grad, w, g)
        x = buffers.empty(g.input_shape, grad.dtype)
        if x.size:
            products, complete = plans.input_adjoint(self._simd(grad.dtype), g, self.algorithm)
            if not complete or not grad.size:
                x.fill(0)
            if grad.size:
                grad, w = _contiguous(grad), _contiguous(w)
                for product in products:
                    product.run(grad, w, None, x)
        return x

    def conv2d_weight(self, x: np.ndarray, grad: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
        g = geometry
        w = buffers.empty(g.weight_shape, x.dtype)
        if not x.size:
            w.fill(0)
        elif w.size:
            plans.weight_adjoint(self._simd(x.dtype), g, self.algorithm).run(_contiguous(x), _contiguous(grad), w)
        return w

    def max_pool2d(self, x: np.ndarray, geometry: PoolGeometry) -> tuple[np.ndarray, np.ndarray]:
        return max_pooling.max_pool2d(self._simd(x.dtype), x, geometry, get_num_threads())

    def max_pool2d_values(self, x: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        return max_pooling.max_pool2d_values(self._simd(x.dtype), x, geometry, get_num_threads())

    def max_pool2d_backward(self, grad: np.ndarray, indices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        simd = self._simd(grad.dtype)
        return max_pooling.max_pool2d_backward(simd, grad, indices, size, get_num_threads())

    def avg_pool2d(self, x: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        return average_pooling.avg_pool2d(self._simd(x.dtype), x, geometry, get_num_threads())

    def avg_pool2d_backward(self, grad: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        simd = self._simd(grad.dtype)
        return average_pooling.avg_pool2d_backward(simd, grad, geometry, get_num_threads())


@cache
def _simd(instructions: InstructionSet, dtype: np.dtype) -> Simd:
    return Simd(instructions, dtype.name)


@QUIET
def _input_adjoint_of_infinities(grad: np.ndarray, w: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """The adjoint for the input, tap by tap: as a convolution, an infinite weight would meet zeros beyond grad's edges.

    So few pixels at a time that the columns stay within some megabytes.
    """
    x = np.zeros(g.input_shape, grad.dtype)
    turned = w.reshape(g.groups, g.K // g.groups, -1).transpose(0, 2, 1)
    for n in range(g.N):
        for p in range(g.P):
            for q in range(0, g.Q, _LINE):
                pixels = grad[n, :, p : p + 1, q : q + _LINE]
                columns = turned @ pixels.reshape(g.groups, g.K // g.groups, -1)
                scatter(x[n], columns.reshape(g.C, g.R, g.S, *pixels.shape[1:]), g, (p, q))
    return x
