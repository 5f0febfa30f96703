"""This file runs convolution, activation and 2 x 2 pooling together, some images at a time, so that the numbers between
them stay in a cache.

A convolution's result is the largest array of such a block: 6.9 MB for 100 images of SimpleConvNet, where input and
pooled result have 0.3 and 1.7. Layer by layer it is written and read three times forwards, and its gradient four times
backwards, at the speed of memory. Here the batch is cut into *slabs* of images whose results take no more than
`SLAB_BYTES`, and all slabs use the same memory. Of max pooling only the indices are saved, not its inputs. ReLU's
derivative and the bias gradient are then computed from the pooled gradient, a quarter as large, and mostly the weight
gradient and the input gradient too (fused/sparse_grad/argmax.py), so that no array of the larger size is made. What the
activation's gradient reads is saved if it isn't the block's result: its inputs, or its results before averaging.

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

from fastconv.backends.block import Block, pairs_of
from fastconv.backends.numba_cpu.fused import averaged_grad, post_op
from fastconv.backends.numba_cpu.fused.bias_grad import bias_gradient
from fastconv.backends.numba_cpu.fused.convolving import Convolving, Planner, convolving
from fastconv.backends.numba_cpu.fused.formulas.activations import ACTIVATIONS
from fastconv.backends.numba_cpu.fused.network.panels import Panels
from fastconv.backends.numba_cpu.fused.saved import Saved
from fastconv.backends.numba_cpu.fused.sparse_grad.plan import argmax_plans
from fastconv.backends.numba_cpu.gemm import elementwise, reduce
from fastconv.backends.numba_cpu.gemm.arguments import NO_LIMITS
from fastconv.backends.numba_cpu.pooling.plan import average_backward, max_backward
from fastconv.backends.numba_cpu.pooling.plan import forward as pooling
from fastconv.backends.numba_cpu.pooling.windows.state import AVERAGES, PLACES, VALUES
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry

SLAB_BYTES = 4 << 20
"""Size limit of a slab's results, in bytes: they stay in the L3 cache. Smaller slabs pack weights more often, and were
not faster."""


@dataclass(frozen=True)
class Forward:
    """Holds the places of a block's operands and results; ``saved`` is None where no gradient will be asked for."""

    x: Place
    w: Place
    b: Place | None
    residual: Place | None
    result: Place
    saved: Place | None


@dataclass(frozen=True)
class Backward:
    """Holds the places of a block's gradients; None stands for a gradient that isn't wanted."""

    grad: Place
    forward: Forward
    x: Place | None
    w: Place | None
    b: Place | None
    residual: Place | None


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

    def __init__(self, program: ProgramBuilder, planner: Planner, simd: Simd, panels: Panels | None = None) -> None:
        """Write to ``program``; ``planner`` makes the plans of the convolutions, and ``panels`` keep their weights."""
        self.program, self.planner, self.simd, self.panels = program, planner, simd, panels

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
        program, simd, size = self.program, self.simd, self.simd.itemsize
        what = Saved.of(block)
        for first, part in self._parts(block):
            conv = part.geometry
            whole, pooled = (first * math.prod(each.result_shape[1:]) for each in (replace(block, pool=None), block))
            numbers = indices = None
            if at.saved is not None and what.numbers:
                numbers = at.saved + what.numbers_at(block) + whole * size
            if at.saved is not None and what.indices:
                indices = at.saved + pooled * 8
            result = at.result + pooled * size
            x = at.x + first * math.prod(conv.input_shape[1:]) * size
            residual = None if at.residual is None else at.residual + whole * size
            y = result if part.pool is None else self._buffer(math.prod(conv.output_shape))
            y = self._convolve(part, replace(at, x=x, residual=residual), y, numbers)
            if part.pool == "avg":
                pooling(simd, pairs_of(conv), AVERAGES).record(program, y, result, None)
            elif part.pool == "max":
                kind = VALUES if indices is None else PLACES
                pooling(simd, pairs_of(conv), kind).record(program, y, result, indices)

    def _convolve(self, block: Block, at: Forward, y: Place, numbers: Place | None) -> Place:
        """Write the jobs up to the activation, for the images of a slab; return the place of the results.

        They are at ``y``, or at ``numbers``, where those that the gradient reads are saved, if they are the results.
        """
        g, program, simd = block.geometry, self.program, self.simd
        if numbers is not None and (block.activation is None or not ACTIVATIONS[block.activation].reads_input):
            y, numbers = numbers, None
        ready = self._ready(block, at.residual, activates=numbers is None)
        if ready.job.exchanged:
            ready.plan.record(program, at.w, at.x, y)
            if at.b is not None or ready.limits is not None:
                elementwise.record_bias(program, simd, y, at.b, (g.N, g.K), ready.limits or NO_LIMITS)
        else:
            self._record(ready, at, y)
        if ready.follows:
            count, residual = math.prod(g.output_shape), None if ready.residual else at.residual
            post_op.record_forward(program, simd, block.activation, y, y, count, residual=residual, saved=numbers)
        return y

    def forward_among(self, block: Block, at: Forward, channels: int) -> bool:
        """Write the jobs of a block whose results are some channels of images with ``channels`` channels.

        Nothing is written, and False returned, if that takes a copy of the results.
        """
        if block.pool is not None or at.residual is not None or at.saved is not None:
            return False
        ready = self._ready(block, None, activates=True)
        plan = None if ready.job.exchanged or ready.follows else ready.plan.among(channels)
        if plan is None:
            return False
        self._record(replace(ready, plan=plan), at, at.result)
        return True

    def _ready(self, block: Block, residual: Place | None, *, activates: bool) -> Convolving:
        return convolving(self.planner, self.simd, block, residual, kept=self.panels is not None, activates=activates)

    def _record(self, ready: Convolving, at: Forward, y: Place) -> None:
        if self.panels is not None:
            self.panels.record(ready.plan, at.x, at.w, at.b, y, *ready.residual)
        else:
            ready.plan.record(self.program, at.x, at.w, at.b, y, *ready.residual)

    def backward(self, block: Block, at: Backward) -> None:
        """Write the jobs that compute a block's gradients."""
        at = self._from_argmax(block, at)
        if (at.x, at.w, at.b, at.residual) == (None, None, None, None):
            return
        g, size = block.geometry, self.simd.itemsize
        parts = list(self._parts(block))
        numbers = math.prod(g.weight_shape)
        several = len(parts) > 1
        weights = self._buffer(len(parts) * numbers) if several and at.w is not None else at.w
        biases = self._buffer(len(parts) * g.K) if several and at.b is not None else at.b
        for number, (first, part) in enumerate(parts):
            conv = part.geometry
            change = self._before(block, part, at, first, None if biases is None else biases + number * g.K * size)
            if at.x is not None:
                begin = at.x + first * math.prod(conv.input_shape[1:]) * size
                self.input_gradient(conv, change, at.forward.w, begin)
            if weights is not None:
                x = at.forward.x + first * math.prod(conv.input_shape[1:]) * size
                self._weight(conv, x, change, weights + number * numbers * size)
        if several:
            for found, target, count in ((weights, at.w, numbers), (biases, at.b, g.K)):
                if found is not None and target is not None:
                    reduce.record(self.program, self.simd, found, target, count, len(parts))

    def _before(self, block: Block, part: Block, at: Backward, first: int, biases: Place | None) -> Place:
        """Return the place of the gradient of a convolution's results, for the slab from image ``first`` on.

        Its sums, the bias gradient, are written to ``biases``.
        """
        program, simd, size = self.program, self.simd, self.simd.itemsize
        conv, activation, what = part.geometry, part.activation, Saved.of(block)
        N, K, P, Q = conv.output_shape
        whole = math.prod(conv.output_shape)
        begin, begin_whole = (first * math.prod(each.result_shape[1:]) for each in (block, replace(block, pool=None)))
        change = self._buffer(whole) if at.residual is None else at.residual + begin_whole * size
        grad, saved = at.grad + begin * size, at.forward.saved
        read = at.forward.result + begin * size
        if what.numbers:
            assert saved is not None
            read = saved + what.numbers_at(block) + begin_whole * size
        if activation is not None and part.pool == "avg":
            sums = None if biases is None else self._buffer(N * K)
            averaged_grad.record(program, simd, activation, grad, read, change, N * K, (P, Q), sums)
            if sums is not None and biases is not None:
                bias_gradient(simd, N, K, 1).record(program, sums, biases)
            return change
        pixels, summed = P * Q, change
        if part.pool == "max":
            assert saved is not None
            pixels = math.prod(part.result_shape[2:])
            if activation is not None and not what.numbers:
                # The pooled gradient is a quarter as large, and its sums are the same.
                through = self._buffer(N * K * pixels)
                post_op.record_gradient(program, simd, activation, grad, read, through, N * K * pixels)
                grad, activation = through, None
            window, summed = pairs_of(conv), grad
            job = max_backward(simd, N * K, (P, Q), (window.P, window.Q))
            job.record(program, change, grad, saved + begin * 8)
            grad = change
        elif part.pool == "avg":
            average_backward(simd, pairs_of(conv))[0].record(program, change, grad, None)
        elif activation is None and at.residual is None:
            change = summed = grad
        elif activation is None:
            post_op.record_forward(program, simd, None, grad, change, whole)
        if activation is not None:
            post_op.record_gradient(program, simd, activation, grad, read, change, whole)
            pixels, summed = P * Q, change
        if biases is not None:
            bias_gradient(simd, N, K, pixels).record(program, summed, biases)
        return change

    def input_gradient(self, g: ConvGeometry, grad: Place, w: Place, target: Place) -> None:
        """Write the jobs that compute a convolution's input gradient, also a transposed convolution."""
        plans, jobs, complete = self.planner.plans("conv2d_input", self.simd, g)
        if not complete:
            elementwise.record_clear(self.program, self.simd, target, math.prod(g.input_shape))
        for plan, job in zip(plans, jobs, strict=True):
            if job.exchanged:
                plan.record(self.program, w, grad, None, target)
            else:
                # Computed as a convolution, it multiplies an infinite weight by zeros beyond the gradient's edges.
                plan.record(self.program, grad, w, None, target, watch=True)

    def _weight(self, g: ConvGeometry, x: Place, grad: Place, target: Place) -> None:
        (plan,), (job,), _ = self.planner.plans("conv2d_weight", self.simd, g)
        if job.along_rows:
            plan.record(self.program, x, grad, target)
        else:
            plan.record(self.program, x, grad, None, target)

    def _from_argmax(self, block: Block, at: Backward) -> Backward:
        """Write the jobs for the gradients that are cheapest from max pooling's argmax; return those that remain."""
        g, saved, simd = block.geometry, at.forward.saved, self.simd
        if block.pool != "max" or saved is None or at.residual is not None or self.planner.algorithm is not None:
            return at
        if Saved.of(block).numbers:
            return at
        relu = block.activation is not None and ACTIVATIONS[block.activation].limits is not None
        for_weight, for_input = argmax_plans(simd, g, weight=at.w is not None, image=at.x is not None, relu=relu)
        if for_weight is None and for_input is None:
            return at
        grad, count, results = at.grad, math.prod(block.result_shape), None
        if block.activation == "relu" and (for_weight is not None or at.b is None):
            results = at.forward.result
        elif block.activation is not None:
            grad = self._buffer(count)
            post_op.record_gradient(self.program, simd, block.activation, at.grad, at.forward.result, grad, count)
        if for_weight is not None:
            parts = for_weight.parts
            biases = at.b if at.b is None or parts == 1 else self._buffer(parts * g.K)
            for_weight.record(self.program, at.forward.x, grad, saved, results, biases, at.w, watch=True)
            if at.b is not None and biases is not None and parts > 1:
                reduce.record(self.program, simd, biases, at.b, g.K, parts)
        elif at.b is not None:
            bias_gradient(simd, g.N, g.K, math.prod(block.result_shape[2:])).record(self.program, grad, at.b)
        if for_input is not None:
            for_input.record(self.program, grad, at.forward.w, saved, results, at.x, watch=True)
        return replace(at, x=None if for_input else at.x, w=None if for_weight else at.w, b=None)
