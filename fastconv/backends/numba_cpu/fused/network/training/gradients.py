"""This file writes the jobs of a network's gradients into a program, from the last operation to the first.

It reads the values where the forward pass left them. A gradient that two operations give is their sum, made where it is
first read; a gradient of some channels of a value stays where it is until then.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from fastconv.backends.network import Arranged, Convolved, Mapped, Normed, Outline, Pooled, Reshaped
from fastconv.backends.numba_cpu.fused import post_op
from fastconv.backends.numba_cpu.fused.batch_norm.plan import NormPass
from fastconv.backends.numba_cpu.fused.formulas.activations import ACTIVATIONS, is_clamp
from fastconv.backends.numba_cpu.fused.lowering import Backward, Forward, Lowering
from fastconv.backends.numba_cpu.fused.network import planes
from fastconv.backends.numba_cpu.fused.network.lowering import NetworkLowering
from fastconv.backends.numba_cpu.fused.network.planes import Run
from fastconv.backends.numba_cpu.fused.network.training import plane_dots
from fastconv.backends.numba_cpu.fused.network.training.shares import Shares
from fastconv.backends.numba_cpu.gemm import elementwise
from fastconv.backends.numba_cpu.pooling.plan import average_backward, max_backward
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.trainable import depending, reached


class GradientLowering:
    """Writes the jobs of an outline's gradients into a program."""

    def __init__(
        self, outline: Outline, forward: NetworkLowering, program: ProgramBuilder, blocks: Lowering, simd: Simd
    ) -> None:
        """Write to ``program``; ``forward`` knows where values are, and ``blocks`` writes to the same program."""
        self._outline, self._forward, self._program, self._blocks, self._simd = outline, forward, program, blocks, simd
        self._shares = [Shares(shape[1]) for shape in outline.shapes]
        self._parameters: Sequence[Place] = ()
        self._wanted: dict[int, Place] = {}
        self._images: dict[int, Place] = {}
        self._needed: set[int] = set()
        self._readers: Counter[int] = Counter()
        self._begun: set[int] = set()
        self._sums: list[tuple[Place, Place, int]] = []

    def record(
        self,
        parameters: Sequence[Place],
        changes: Sequence[Place | None],
        images: Sequence[Place | None],
        wanted: Sequence[Place | None],
    ) -> None:
        """Write all jobs.

        Args:
            parameters: the places of the parameters.
            changes: the places of the results' gradients, None for one that isn't there.
            images: where the gradients of the images belong, None for one that isn't wanted.
            wanted: where the gradients of the parameters belong, likewise.
        """
        outline, self._parameters = self._outline, parameters
        self._images = {number: place for number, place in enumerate(images) if place is not None}
        self._wanted = {number: place for number, place in enumerate(wanted) if place is not None}
        values, _ = reached(outline, [change is not None for change in changes])
        masks = [[place is not None for place in places] for places in (images, wanted)]
        self._needed = values & depending(outline, *masks)
        for number in self._needed:
            if number >= outline.given:
                self._readers.update(outline.operations[number - outline.given].sources)
        for value, change in zip(outline.results, changes, strict=True):
            if change is not None:
                self._give(value, change)
                self._readers[value] += 1
        for number in reversed(range(outline.given, len(outline.shapes))):
            if number in self._needed:
                self._differentiate(number, self._gradient(number))
        for number, place in self._images.items():
            if number in self._needed:
                self._gradient(number, place)

    def _differentiate(self, number: int, grad: Place) -> None:
        """Write the gradients of what an operation reads; ``grad`` is the place of its result's gradient."""
        operation = self._outline.operations[number - self._outline.given]
        channels = self._outline.shapes[number][1]
        match operation:
            case Convolved():
                self._convolve(number, operation, grad)
            case Normed():
                self._normalise(number, operation, grad)
            case Pooled():
                self._pool(number, operation, grad)
            case Mapped():
                self._map(number, operation, grad)
            case Reshaped(source):
                self._give(source, grad)
            case Arranged():
                at = 0
                for value, first, count in operation.channels:
                    if value in self._needed:
                        self._shares[value].add(Run(grad, channels, at, count), first)
                    at += count
        while self._sums:
            part, target, numbers = self._sums.pop()
            post_op.record_forward(self._program, self._simd, None, part, target, numbers, residual=target)

    def _give(self, value: int, place: Place) -> None:
        """Add a gradient of all of a value's channels."""
        channels = self._outline.shapes[value][1]
        self._shares[value].add(Run(place, channels, 0, channels))

    def _size(self, value: int) -> int:
        return math.prod(self._outline.shapes[value])

    def _buffer(self, numbers: int) -> Place:
        return self._program.buffer(numbers * self._simd.itemsize)

    def _into(self, value: int) -> Place | None:
        """Return where the gradient of an operation's source is to be written; None if nothing needs it."""
        if value not in self._needed:
            return None
        place = self._images[value] if self._readers[value] == 1 and value in self._images else None
        place = place or self._buffer(self._size(value))
        self._give(value, place)
        return place

    def _gradient(self, value: int, target: Place | None = None) -> Place:
        """Return the place of a value's gradient, after writing it if it is a sum, or belongs to ``target``."""
        shares = self._shares[value]
        place = shares.whole()
        if place is not None and target in (None, place):
            return place
        images, channels, *plane = self._outline.shapes[value]
        target, added = target or self._buffer(self._size(value)), None
        pixels = math.prod(plane)
        for layer in shares.layers():
            runs = [self._zeros(pixels) if run is None else run for run in layer]
            places = (None, None, None, added, target)
            planes.record(self._program, self._simd, runs, (images, channels, pixels), places)
            added = target
        return target

    def _zeros(self, pixels: int) -> Run:
        """Return a channel of zeros, which all images share."""
        place = self._buffer(pixels)
        elementwise.record_clear(self._program, self._simd, place, pixels)
        return Run(place, 0, 0, 1)

    def _parameter(self, number: int | None, count: int) -> Place | None:
        """Return where an operation writes its part of a parameter's gradient; None if it isn't wanted."""
        target = None if number is None else self._wanted.get(number)
        if number is None or target is None:
            return None
        if number not in self._begun:
            self._begun.add(number)
            return target
        place = self._buffer(count)
        self._sums.append((place, target, count))
        return place

    def _read(self, value: int) -> Place:
        place = self._forward.beside(value)
        assert place is not None, "the forward pass read all channels side by side"
        return place

    def _convolve(self, number: int, operation: Convolved, grad: Place) -> None:
        block, residual = operation.block, operation.residual
        at = Forward(
            x=self._read(operation.source),
            w=self._parameters[operation.weight],
            b=None if operation.bias is None else self._parameters[operation.bias],
            residual=None if residual is None else self._read(residual),
            result=self._read(number),
            saved=self._forward.further.get(number),
        )
        into = None
        if residual is not None and (block.activation, block.pool) == (None, None):
            if residual in self._needed:
                self._give(residual, grad)
        elif residual is not None:
            into = self._into(residual)
        weight = self._parameter(operation.weight, math.prod(block.geometry.weight_shape))
        bias = self._parameter(operation.bias, block.geometry.K)
        self._blocks.backward(block, Backward(grad, at, self._into(operation.source), weight, bias, into))

    def _normalise(self, number: int, operation: Normed, grad: Place) -> None:
        images, channels, *plane = self._outline.shapes[number]
        activation, residual = operation.activation, operation.residual
        job = NormPass(self._simd, (images, channels, math.prod(plane)), activation, backwards=True)
        read = into = None
        if residual is not None and activation is None:
            if residual in self._needed:
                self._give(residual, grad)
        elif residual is not None:
            read = self._read(number if is_clamp(activation or "") else residual)
            into = self._into(residual)
        vectors = [operation.gamma, operation.beta]
        found = [self._parameter(each, channels) for each in vectors]
        statistics = self._forward.further[number]
        gamma = None if operation.gamma is None else self._parameters[operation.gamma]
        # torch lets a beta change between the passes, so the forward pass kept what it was.
        beta = None if operation.beta is None else statistics + 4 * channels * self._simd.itemsize
        target = self._into(operation.source)
        job.record(
            self._program, self._read(operation.source), read, gamma, beta, statistics, grad, target, into, *found
        )

    def _pool(self, number: int, operation: Pooled, grad: Place) -> None:
        g, into = operation.geometry, self._into(operation.source)
        assert into is not None
        if operation.kind == "max":
            job = max_backward(self._simd, g.N * g.C, (g.H, g.W), (g.P, g.Q))
            job.record(self._program, into, grad, self._forward.further[number])
        else:
            average_backward(self._simd, g)[0].record(self._program, into, grad, None)

    def _map(self, number: int, operation: Mapped, grad: Place) -> None:
        source, factors, residual = operation.source, operation.factors, operation.residual
        images, channels, *plane = self._outline.shapes[number]
        program, simd, pixels = self._program, self._simd, math.prod(plane)
        if operation.activation is not None:
            into = self._into(source)
            assert into is not None
            read = self._read(source if ACTIVATIONS[operation.activation].reads_input else number)
            post_op.record_gradient(program, simd, operation.activation, grad, read, into, self._size(number))
        elif residual is not None:
            for value in (source, residual):
                if value in self._needed:
                    self._give(value, grad)
        elif factors is not None:
            if (into := self._into(source)) is not None:
                places = (self._read(factors), None, None, None, into)
                planes.record(program, simd, [Run(grad, channels, 0, channels)], (images, channels, pixels), places)
            if (into := self._into(factors)) is not None:
                plane_dots.record(program, simd, grad, self._read(source), into, images * channels, pixels)


def is_differentiable(outline: Outline, simd: Simd) -> bool:
    """Return True if `GradientLowering` can do all operations."""
    for operation in outline.operations:
        match operation:
            case Convolved() | Normed() | Arranged() | Reshaped():
                continue
            case Pooled(geometry, "avg") if average_backward(simd, geometry)[1] is None:
                continue
            case Pooled(_, "max"):
                continue
            case Mapped(_, factors, scale, shift, residual, activation):
                # One at a time: f(x factors + residual) would need its sums for the gradient of f.
                there = [each for each in (factors, scale, shift, residual, activation) if each is not None]
                if len(there) == 1 and scale is None and shift is None:
                    continue
        return False
    return True
