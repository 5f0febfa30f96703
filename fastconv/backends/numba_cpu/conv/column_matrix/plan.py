"""This plan computes an input gradient by its column matrix: a matrix product, and then a sum over taps.

    columns[n, (c, r, s), (p, q)]  =  sum over k of w[k, (c, r, s)] * grad[n, k, (p, q)]
    x[n, c]                        =  the columns of channel c folded                    (fold.py)

As a convolution for each lattice, the input gradient multiplies every pixel by every tap of its lattice, also by zeros
for windows outside the image: for a kernel of 5 x 300 on 56 x 300 pixels that is 323 times the necessary work. Besides,
each lattice packs its part of the weight, in steps of a whole kernel. The product does only the necessary work, and
reads the weight in the order in which it is stored; the cost is that its result is written, and read again by the sum.
So this plan is for kernels about as large as the image, and for large weights on small images, as in the first layers
of a generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from fastconv.backends.numba_cpu.conv.column_matrix.arguments import FoldArguments
from fastconv.backends.numba_cpu.conv.column_matrix.fold import fold
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.program import Operation, Place, ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.geometry import ConvGeometry


def column_job(g: ConvGeometry, itemsize: int) -> Job | None:
    """Return the product of all images as a job, or None if one image's columns take too much memory."""
    if math.prod(g.columns_shape[1:]) * itemsize > CPU.routes.most_bytes:
        return None
    # It is a 1 x 1 convolution of grad, whose target channels are the elements of the kernels.
    pixels = 1, g.P * g.Q
    rows, depth = g.C // g.groups * g.R * g.S, g.K // g.groups
    problem = Problem(g.N, g.groups, rows, depth, pixels, pixels, (1, 1), ((0, 0, 0),), backward=True)
    target = (g.N, g.groups * rows, *pixels)
    return Job(problem, (g.N, g.K, *pixels), target, (1, rows, depth * rows), columns=g)


def _images_at_once(g: ConvGeometry, itemsize: int) -> int:
    return min(g.N, max(1, CPU.routes.columns_bytes // (math.prod(g.columns_shape[1:]) * itemsize)))


class ColumnGradient(Operation):
    """This plan runs a product and then a sum for a few images at a time."""

    def __init__(self, simd: Simd, job: Job, g: ConvGeometry, plan: Callable[[Job], Any]) -> None:
        """Make a plan from a ``job`` of `column_job`; ``plan`` makes the plans of the products."""
        super().__init__()
        at_once = _images_at_once(g, simd.itemsize)

        @cache
        def product(images: int) -> Any:
            problem = replace(job.problem, images=images)
            source, target = (images, *job.source[1:]), (images, *job.target[1:])
            return plan(replace(job, problem=problem, source=source, target=target, columns=None))

        self._products = [(first, product(min(at_once, g.N - first))) for first in range(0, g.N, at_once)]
        self.simd, self.job, self._g = simd, job, g
        self.cut, self.thread_bytes = product(at_once).cut, product(at_once).thread_bytes
        self._shape = (at_once, *job.target[1:])
        (down, right), (DY, DX) = g.stride, g.dilation
        pads = {"top": g.padding[0], "left": g.padding[2]}
        steps = {"down": down, "right": right, "DY": DY, "DX": DX}
        self._args = FoldArguments.new(H=g.H, W=g.W, P=g.P, Q=g.Q, R=g.R, S=g.S, **steps, **pads)
        self._flops = g.flops

    @property
    def nbytes(self) -> int:
        """Return the size of its own arguments and of its products' plans, each counted once, in bytes."""
        products = {id(product): product.nbytes for _, product in self._products}
        return self._args.nbytes + sum(products.values())

    def run(self, grad: np.ndarray, weight: np.ndarray, bias: None, target: np.ndarray) -> bool:
        """Fill ``target``; return True, since the weight is never multiplied by a zero that isn't in the definition."""
        self.execute(grad, weight, bias, target)
        return True

    def emit(self, program: ProgramBuilder, *places: Place | None, watch: bool = True) -> None:
        grad, weight, _, target = places
        assert grad is not None
        assert target is not None
        g, size = self._g, self.simd.itemsize
        columns = program.buffer(math.prod(self._shape) * size)
        threads = workers.threads_for(self._flops)
        for first, product in self._products:
            there = grad + first * math.prod(g.output_shape[1:]) * size
            image = target + first * math.prod(g.input_shape[1:]) * size
            product.emit(program, there, weight, None, columns, watch=watch)
            step = Step(fold(self.simd), product.job.problem.images * g.C, threads)
            program.add(self._args, zip(_OPERANDS, (columns, image), strict=True), [step])


_OPERANDS = FoldArguments.positions("columns", "image")
