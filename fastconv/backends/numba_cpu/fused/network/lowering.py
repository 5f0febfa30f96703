"""This file writes the jobs of a network's operations into a program.

A value is where its channels are: runs of channels in buffers. To concatenate, split or shuffle is to list other runs;
numbers are copied where a convolution or a pooling wants all channels side by side. The parts of a concatenation are
written where they belong, for several images those alone that convolutions compute.

For a backward pass all values, and what gradients read besides, stand in memory that outlasts the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from fastconv.backends.network import Arranged, Convolved, Mapped, Normed, Outline, Pooled, Reshaped, Transposed
from fastconv.backends.numba_cpu.fused import post_op
from fastconv.backends.numba_cpu.fused.batch_norm.plan import NormPass, momentum_and_eps
from fastconv.backends.numba_cpu.fused.lowering import Forward, Lowering
from fastconv.backends.numba_cpu.fused.network import dense, planes
from fastconv.backends.numba_cpu.fused.network.expanded.plan import ExpandedConvolution, expanded_convolutions
from fastconv.backends.numba_cpu.fused.network.homes import Homes
from fastconv.backends.numba_cpu.fused.network.planes import Run
from fastconv.backends.numba_cpu.fused.saved import Saved
from fastconv.backends.numba_cpu.pooling.plan import forward as pooling
from fastconv.backends.numba_cpu.pooling.windows.state import AVERAGES, PLACES, VALUES
from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd

_LINE = 64


class SavedMemory:
    """Gives out parts of the memory in which a forward pass leaves what the backward pass reads."""

    def __init__(self, place: Place) -> None:
        """Begin at a place, which is an operand."""
        self._place, self.size = place, 0

    def take(self, size: int) -> Place:
        """Return the place of the next ``size`` bytes."""
        place = self._place + self.size
        self.size += -(-size // _LINE) * _LINE
        return place


class NetworkLowering:
    """Writes the jobs of an outline into a program."""

    def __init__(
        self,
        outline: Outline,
        program: ProgramBuilder,
        blocks: Lowering,
        simd: Simd,
        saved: SavedMemory | None = None,
    ) -> None:
        """Write to ``program``; with ``saved``, a backward pass will follow."""
        self._outline, self._program, self._blocks, self._simd = outline, program, blocks, simd
        self._saved = saved
        self.further: dict[int, Place] = {}
        """What an operation saved besides its result, by the result's number."""
        self._runs: list[list[Run]] = []
        self._parameters: Sequence[Place] = ()
        self._homes: dict[int, Place] = {}
        self._among: dict[int, Run] = {}
        self._expanded: dict[int, tuple[ExpandedConvolution, Convolved]] = {}

    def record(self, images: Sequence[Place], parameters: Sequence[Place], results: Sequence[Place]) -> None:
        """Write all jobs."""
        outline = self._outline
        self._parameters = parameters
        given = dict(zip(outline.results, results, strict=True))
        homes = Homes(outline, given, self._simd.itemsize, self._buffer, saved=self._saved is not None)
        self._homes, self._among = homes.places, homes.among
        if self._saved is None:  # A backward pass reads an expansion.
            self._expanded = expanded_convolutions(outline, self._blocks.planner, self._simd)
        made = {outline.operations[number - outline.given].sources[0] for number in self._expanded}
        self._runs = [[Run(place, shape[1], 0, shape[1])] for place, shape in zip(images, outline.shapes, strict=False)]
        for number, operation in enumerate(outline.operations, outline.given):
            match operation:
                case Convolved() if number in made:
                    self._runs.append([])
                case Convolved() if number in self._expanded:
                    self._expand(number, operation)
                case Convolved():
                    self._convolve(number, operation)
                case Transposed():
                    weight, target = self._parameters[operation.weight], self._target(number)
                    self._blocks.input_gradient(operation.geometry, self._place(operation.source), weight, target)
                case Pooled():
                    self._pool(number, operation)
                case Mapped():
                    self._map(number, operation)
                case Normed():
                    self._normalise(number, operation)
                case Arranged():
                    self._runs.append(self._arranged(operation))
                    self._settle(number)
                case Reshaped():
                    shape = outline.shapes[number]
                    self._runs.append([Run(self._place(operation.source), shape[1], 0, shape[1])])
                    self._settle(number)

    def _expand(self, number: int, operation: Convolved) -> None:
        plan, expansion = self._expanded[number]
        weights = [
            None if each is None else self._parameters[each]
            for convolved in (expansion, operation)
            for each in (convolved.weight, convolved.bias)
        ]
        source, target = self._place(expansion.source), self._target(number)
        plan.record(self._program, source, *weights, target)

    def _buffer(self, number: int) -> Place:
        size = math.prod(self._outline.shapes[number]) * self._simd.itemsize
        return self._program.buffer(size) if self._saved is None else self._saved.take(size)

    def _keep(self, number: int, size: int) -> Place | None:
        """Return the place of ``size`` bytes that an operation saves besides its result, if a gradient will ask."""
        if self._saved is not None and size > 0:
            self.further[number] = self._saved.take(size)
        return self.further.get(number)

    def _target(self, number: int) -> Place:
        """Return where an operation writes all channels of its result, side by side."""
        place = self._homes.get(number) or self._buffer(number)
        channels = self._outline.shapes[number][1]
        self._runs.append([Run(place, channels, 0, channels)])
        return place

    def _place(self, number: int) -> Place:
        """Return where all channels of a value are, side by side; they are copied there if they aren't."""
        place = self.beside(number)
        if place is None:
            place = self._homes.get(number) or self._buffer(number)
            self._copy(number, place)
        return place

    def beside(self, number: int) -> Place | None:
        """Return the place of a value whose channels lie side by side, or None."""
        (first, *more), (images, _, *plane) = self._runs[number], self._outline.shapes[number]
        if more or (images > 1 and first.length < first.channels):
            return None
        return self._first(first, math.prod(plane))

    def _first(self, run: Run, pixels: int) -> Place:
        """Return the place of the first channel of a run, in the first image."""
        return run.buffer + run.first * pixels * self._simd.itemsize

    def _copy(self, number: int, place: Place) -> None:
        """Copy a value to a place, where it is from then on."""
        images, channels, *plane = self._outline.shapes[number]
        shape = images, channels, math.prod(plane)
        planes.record(self._program, self._simd, self._runs[number], shape, (None, None, None, None, place))
        self._runs[number] = [Run(place, channels, 0, channels)]

    def _settle(self, number: int) -> None:
        """Copy a value to its home, if it has one and isn't there."""
        home = self._homes.get(number)
        if home is not None and self.beside(number) != home:
            self._copy(number, home)

    def _convolve(self, number: int, operation: Convolved) -> None:
        block, bias, residual = operation.block, operation.bias, operation.residual
        further, run = Saved.of(block).nbytes(block, self._simd.itemsize), self._among.get(number)
        if dense.is_for(block.geometry) and block.pool is None and residual is None and not (self._saved and further):
            places = (
                self._place(operation.source),
                self._parameters[operation.weight],
                None if bias is None else self._parameters[bias],
                self._target(number),
            )
            dense.record(self._program, self._simd, block.geometry, block.activation, places)
            return
        at = Forward(
            x=self._place(operation.source),
            w=self._parameters[operation.weight],
            b=None if bias is None else self._parameters[bias],
            residual=None if residual is None else self._place(residual),
            result=self._target(number) if run is None else self._first(run, block.geometry.P * block.geometry.Q),
            saved=self._keep(number, further),
        )
        if run is None:
            self._blocks.forward(block, at)
        elif self._blocks.forward_among(block, at, run.channels):
            self._runs.append([run])
        else:
            self._blocks.forward(block, replace(at, result=self._target(number)))

    def _pool(self, number: int, operation: Pooled) -> None:
        g, kind = operation.geometry, AVERAGES
        source, target, indices = self._place(operation.source), self._target(number), None
        if operation.kind == "max":
            indices = self._keep(number, 8 * math.prod(g.output_shape))
            kind = VALUES if indices is None else PLACES
        pooling(self._simd, g, kind).record(self._program, source, target, indices)

    def _normalise(self, number: int, operation: Normed) -> None:
        images, channels, *plane = self._outline.shapes[number]
        shape, size = (images, channels, math.prod(plane)), self._simd.itemsize
        constants = momentum_and_eps(self._simd.dtype, operation.momentum, operation.eps)
        job = NormPass(self._simd, shape, operation.activation, backwards=False, factors=constants)
        source = self._place(operation.source)
        residual = None if operation.residual is None else self._place(operation.residual)
        vectors = [None if each is None else self._parameters[each] for each in (operation.gamma, operation.beta)]
        running = [None, None] if operation.running is None else [self._parameters[each] for each in operation.running]
        statistics = self._keep(number, 5 * channels * size)
        assert statistics is not None
        before = statistics + 2 * channels * size
        operands = source, residual, *vectors, statistics, self._target(number), *running, None, before
        job.record(self._program, *operands)

    def _map(self, number: int, operation: Mapped) -> None:
        factors, scale, shift, residual, activation = (
            operation.factors,
            operation.scale,
            operation.shift,
            operation.residual,
            operation.activation,
        )
        images, channels, *plane = self._outline.shapes[number]
        added = None if residual is None else self._place(residual)
        # A backward pass reads the source where it is.
        beside = self.beside(operation.source) if self._saved is None else self._place(operation.source)
        if (factors, scale, shift) == (None, None, None) and beside is not None:
            count = math.prod(self._outline.shapes[number])
            target = self._target(number)
            post_op.record_forward(self._program, self._simd, activation, beside, target, count, residual=added)
            return
        places = (
            None if factors is None else self._place(factors),
            None if scale is None else self._parameters[scale],
            None if shift is None else self._parameters[shift],
            added,
            self._target(number),
        )
        runs, shape = self._runs[operation.source], (images, channels, math.prod(plane))
        planes.record(self._program, self._simd, runs, shape, places, activation)

    def _arranged(self, operation: Arranged) -> list[Run]:
        """Return the runs of an arrangement, those that lie side by side merged."""
        found: list[Run] = []
        for value, first, count in operation.channels:
            for run in _cut(self._runs[value], first, count):
                last = found[-1] if found else None
                if last is not None and run == (last.buffer, last.channels, last.first + last.length, run.length):
                    found[-1] = last._replace(length=last.length + run.length)
                elif last is not None and self._follows(last, run, self._outline.shapes[value]):
                    found[-1] = Run(last.buffer, last.channels + run.channels, last.first, last.length + run.length)
                else:
                    found.append(run)
        return found

    def _follows(self, last: Run, run: Run, shape: tuple[int, int, int, int]) -> bool:
        """Return True if the channels of a single image lie in memory right behind those of ``last``."""
        if shape[0] > 1:
            return False
        plane = shape[2] * shape[3] * self._simd.itemsize
        return last.buffer + (last.first + last.length) * plane == run.buffer + run.first * plane


def _cut(runs: Sequence[Run], first: int, count: int) -> list[Run]:
    """Return the part of some runs from channel ``first`` on."""
    found, at = [], 0
    for run in runs:
        begin, end = max(first, at), min(first + count, at + run.length)
        if begin < end:
            found.append(run._replace(first=run.first + begin - at, length=end - begin))
        at += run.length
    return found
