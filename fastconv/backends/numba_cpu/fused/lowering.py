"""This file runs convolution, activation and 2 x 2 pooling together, some images at a time, so that the numbers between
them stay in a cache.

A convolution's result is the largest array of such a block: 6.9 MB for 100 images of SimpleConvNet, where input and
pooled result have 0.3 and 1.7. Layer by layer it is written and read three times forwards, and its gradient four times
backwards, at the speed of memory. Here the batch is cut into *slabs* of images whose results take no more than
`SLAB_BYTES`, and all slabs use the same memory. Of max pooling only the indices are kept, not its inputs. ReLU's
derivative and the bias gradient are then computed from the pooled gradient, a quarter as large, and mostly the weight
gradient and the input gradient too (fused/sparse_grad/argmax.py), so that no array of the larger size is made. The
gradient of average pooling needs the activation's results, so these are kept.

The slabs follow from the sizes alone, and the parts of the weight gradient are added in order, so the results have the
same bits for any number of threads.

This file writes the jobs of one block, and the places of their operands, into a program (runtime/program.py); chain.py
makes programs of one block or of several.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from fastconv.backends.block import Activation, Block, pairs_of
from fastconv.backends.numba_cpu.fused import activations, bias_grad
from fastconv.backends.numba_cpu.fused.sparse_grad.plan import argmax_plans
from fastconv.backends.numba_cpu.gemm import elementwise, reduce
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.pooling.plan import average_backward, max_backward
from fastconv.backends.numba_cpu.pooling.plan import forward as pooling
from fastconv.backends.numba_cpu.pooling.windows.state import AVERAGES, PLACES, VALUES
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry
from fastconv.threads import get_num_threads

SLAB_BYTES = 4 << 20
"""Size limit of a slab's results, in bytes: they stay in the L3 cache. Smaller slabs pack weights more often, and were
not faster."""


class Planner(Protocol):
    """Makes the plans of convolutions."""

    algorithm: str | None
    """Name of the algorithm that all plans must take, or None where the planner chooses."""

    def plans(self, operation: str, simd: Simd, geometry: ConvGeometry) -> tuple[list[Any], list[Job], bool]:
        """Return the plans for "conv2d", "conv2d_relu", "conv2d_input" or "conv2d_weight", and their jobs.

        The third value says whether the jobs write every element of the result.
        """
        ...


@dataclass(frozen=True)
class Forward:
    """Holds the places of a block's operands and results; ``kept`` is None where no gradient will be asked for."""

    x: Place
    w: Place
    b: Place | None
    result: Place
    kept: Place | None


@dataclass(frozen=True)
class Backward:
    """Holds the places of a block's gradients; None stands for a gradient that isn't wanted."""

    grad: Place
    forward: Forward
    x: Place | None
    w: Place | None
    b: Place | None


@lru_cache(maxsize=4096)
def slabs(g: ConvGeometry, itemsize: int) -> tuple[tuple[int, ConvGeometry], ...]:
    """Return the slabs of a convolution: for each, its first image and the convolution of its images."""
    image = g.K * g.P * g.Q * itemsize
    # Each slab packs the weight anew and adds up a weight gradient, so weights larger than results get a single slab.
    images = max(1, SLAB_BYTES // max(1, image))
    if 4 * math.prod(g.weight_shape) * itemsize > images * image:
        images = g.N
    return tuple((first, replace(g, N=min(images, g.N - first))) for first in range(0, g.N, images))


class Lowering:
    """Writes the jobs of blocks into a program."""

    def __init__(self, program: ProgramBuilder, planner: Planner, simd: Simd) -> None:
        """Write to ``program``; ``planner`` makes the plans of the convolutions."""
        self.program, self.planner, self.simd = program, planner, simd

    def _buffer(self, numbers: int) -> Place:
        return self.program.buffer(numbers * self.simd.itemsize)

    def _parts(self, block: Block) -> Iterator[tuple[int, Block]]:
        """Yield a block's slabs: the first image of each, and the block for its images."""
        if block.pool is None:
            yield 0, block
            return
        for first, conv in slabs(block.geometry, self.simd.itemsize):
            yield first, replace(block, geometry=conv)

    def forward(self, block: Block, at: Forward) -> None:
        """Write the jobs that compute a block's results, and what its gradients need besides."""
        program, simd, size, threads = self.program, self.simd, self.simd.itemsize, get_num_threads()
        for first, part in self._parts(block):
            conv = part.geometry
            x = at.x + first * math.prod(conv.input_shape[1:]) * size
            result = at.result + first * math.prod(block.result_shape[1:]) * size
            if part.pool is None:
                self._convolve(conv, part.activation, x, at, result)
                continue
            if part.pool == "avg" and at.kept is not None:
                y = at.kept + first * math.prod(conv.output_shape[1:]) * size
            else:
                y = self._buffer(math.prod(conv.output_shape))
            self._convolve(conv, part.activation, x, at, y)
            if part.pool == "avg":
                pooling(simd, pairs_of(conv), AVERAGES).record(program, y, result, None, threads)
            elif at.kept is None:
                pooling(simd, pairs_of(conv), VALUES).record(program, y, result, None, threads)
            else:
                places = at.kept + first * math.prod(block.result_shape[1:]) * 8
                pooling(simd, pairs_of(conv), PLACES).record(program, y, result, places, threads)

    def _convolve(self, g: ConvGeometry, activation: Activation | None, x: Place, at: Forward, y: Place) -> None:
        relu = activation == "relu"
        (plan,), (job,), _ = self.planner.plans("conv2d_relu" if relu else "conv2d", self.simd, g)
        if not job.exchanged:
            plan.record(self.program, x, at.w, at.b, y)
        else:
            plan.record(self.program, at.w, x, y)
            if at.b is not None or relu:
                elementwise.record_bias(self.program, self.simd, y, at.b, (g.N, g.K), relu)
        if activation == "tanh":
            activations.record_tanh(self.program, self.simd, y, math.prod(g.output_shape))

    def backward(self, block: Block, at: Backward) -> None:
        """Write the jobs that compute a block's gradients."""
        at = self._from_argmax(block, at)
        if (at.x, at.w, at.b) == (None, None, None):
            return
        g, size = block.geometry, self.simd.itemsize
        parts = list(self._parts(block))
        numbers = math.prod(g.weight_shape)
        several = len(parts) > 1
        weights = self._buffer(len(parts) * numbers) if several else at.w
        biases = self._buffer(len(parts) * g.K) if several else at.b
        for number, (first, part) in enumerate(parts):
            conv = part.geometry
            change, pooled = self._before(part, at, first)
            if at.b is not None and biases is not None:
                self._bias(part, pooled or change, biases + number * g.K * size, pooled=pooled is not None)
            if at.x is not None:
                self._input(conv, change, at, at.x + first * math.prod(conv.input_shape[1:]) * size)
            if at.w is not None and weights is not None:
                x = at.forward.x + first * math.prod(conv.input_shape[1:]) * size
                self._weight(conv, x, change, weights + number * numbers * size)
        if several:
            for found, target, count in ((weights, at.w, numbers), (biases, at.b, g.K)):
                if found is not None and target is not None:
                    reduce.record(self.program, self.simd, found, target, count, len(parts))

    def _before(self, part: Block, at: Backward, first: int) -> tuple[Place, Place | None]:
        """Return the places of two gradients of a slab: of the convolution's results, and of the pooled results.

        The second is None unless it has the same sums, from which the bias gradient can be made.
        """
        program, simd, size, threads = self.program, self.simd, self.simd.itemsize, get_num_threads()
        conv, activation = part.geometry, part.activation
        pooled, whole = math.prod(part.result_shape), math.prod(conv.output_shape)
        begin = first * math.prod(part.result_shape[1:])
        grad, result, kept = at.grad + begin * size, at.forward.result + begin * size, at.forward.kept
        if part.pool == "avg":
            assert kept is not None
            change = self._buffer(whole)
            window = pairs_of(conv)
            average_backward(simd, window)[0].record(program, change, grad, None, threads)
            if activation is not None:
                y = kept + first * math.prod(conv.output_shape[1:]) * size
                activations.record_gradient(program, simd, activation, change, y, change, whole)
            return change, None
        if activation is not None:
            # After max pooling this is the pooled gradient, a quarter as large.
            through = self._buffer(pooled)
            activations.record_gradient(program, simd, activation, grad, result, through, pooled)
            grad = through
        if part.pool is None:
            return grad, None
        assert kept is not None
        change, window = self._buffer(whole), pairs_of(conv)
        job = max_backward(simd, conv.N * conv.K, (conv.P, conv.Q), (window.P, window.Q))
        job.record(program, change, grad, kept + begin * 8, threads)
        return change, grad

    def _bias(self, part: Block, grad: Place, target: Place, *, pooled: bool) -> None:
        N, K, P, Q = part.result_shape if pooled else part.geometry.output_shape
        bias_grad.record(self.program, self.simd, grad, target, (N, K, P * Q))

    def _input(self, g: ConvGeometry, grad: Place, at: Backward, target: Place) -> None:
        plans, jobs, complete = self.planner.plans("conv2d_input", self.simd, g)
        if not complete:
            elementwise.record_clear(self.program, self.simd, target, math.prod(g.input_shape))
        for plan, job in zip(plans, jobs, strict=True):
            if job.exchanged:
                plan.record(self.program, at.forward.w, grad, None, target)
            else:
                # Computed as a convolution, it multiplies an infinite weight by zeros beyond the gradient's edges.
                plan.record(self.program, grad, at.forward.w, None, target, watch=True)

    def _weight(self, g: ConvGeometry, x: Place, grad: Place, target: Place) -> None:
        (plan,), (job,), _ = self.planner.plans("conv2d_weight", self.simd, g)
        if job.along_rows:
            plan.record(self.program, x, grad, target)
        else:
            plan.record(self.program, x, grad, None, target)

    def _from_argmax(self, block: Block, at: Backward) -> Backward:
        """Write the jobs for the gradients that are cheapest from max pooling's argmax; return those that remain."""
        g, kept, simd = block.geometry, at.forward.kept, self.simd
        if block.pool != "max" or kept is None or self.planner.algorithm is not None:
            return at
        for_weight, for_input = argmax_plans(
            simd, g, weight=at.w is not None, image=at.x is not None, relu=block.activation == "relu"
        )
        if for_weight is None and for_input is None:
            return at
        grad, count = at.grad, math.prod(block.result_shape)
        if block.activation is not None:
            grad = self._buffer(count)
            activations.record_gradient(self.program, simd, block.activation, at.grad, at.forward.result, grad, count)
        if for_weight is not None:
            for_weight.record(self.program, at.forward.x, grad, kept, at.w, watch=True)
        if for_input is not None:
            for_input.record(self.program, grad, at.forward.w, kept, at.x, watch=True)
        if at.b is not None:
            self._bias(block, grad, at.b, pooled=True)
        return replace(at, x=None if for_input else at.x, w=None if for_weight else at.w, b=None)
