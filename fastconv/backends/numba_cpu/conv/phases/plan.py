"""These plans convolve images with dilated kernels by way of mosaics of their phases, some images at a time.

The source is copied to mosaics (copy.py), these are convolved by another plan, and the mosaics of the result are copied
to the target. Each copy reads and writes an array once, which pays where an algorithm for neighbouring taps saves more:
minimal filtering. A weight gradient takes mosaics of both operands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from fastconv.backends.numba_cpu.conv.epilogue import Epilogue
from fastconv.backends.numba_cpu.conv.phases.arguments import PhaseArguments
from fastconv.backends.numba_cpu.conv.phases.copy import merge, split
from fastconv.backends.numba_cpu.conv.phases.tiling import PhasedTiling, phases_of
from fastconv.backends.numba_cpu.gemm import reduce
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.program import Operation, Place, ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd import Simd

_OPERANDS = PhaseArguments.positions("image", "mosaic")


class _Phased(Operation):
    """This class holds the plans of the mosaics, and the arguments of the copies."""

    packs, spreads = False, True

    def __init__(self, simd: Simd, job: Job, cut: PhasedTiling, kind: Any) -> None:
        super().__init__()
        p, phases = job.problem, phases_of(job.problem)
        assert phases is not None
        self.simd, self.job, self.cut, self._kind = simd, job, cut, kind
        inner = phases.problem

        @cache
        def part(images: int) -> Any:
            problem = replace(inner, images=images)
            source = images, p.groups * p.channels, *inner.size
            target = images, p.groups * p.rows, *inner.lattice
            return kind(simd, replace(job, problem=problem, source=source, target=target), kind.tiling(simd, problem))

        images = range(0, p.images, cut.images)
        self._parts = [(first, part(min(cut.images, p.images - first))) for first in images]
        self.thread_bytes = part(cut.images).thread_bytes
        self._shapes = part(cut.images).job.source, part(cut.images).job.target
        (DY, DX), (top, left), (high, wide) = phases.dilation, phases.start, phases.apart
        steps = {"DY": DY, "DX": DX, "high": high, "wide": wide}
        (H, W), (I, J) = p.size, inner.size
        self._source = PhaseArguments.new(H=H, W=W, I=I, J=J, top=top, left=left, **steps)
        (H, W), (I, J) = p.lattice, inner.lattice
        self._target = PhaseArguments.new(H=H, W=W, I=I, J=J, **steps)
        self._exact: Any = None

    @property
    def nbytes(self) -> int:
        """Return the size of its own arguments and of the mosaics' plans, each counted once, in bytes."""
        parts = {id(part): part.nbytes for _, part in self._parts}
        return self._source.nbytes + self._target.nbytes + sum(parts.values())

    def exact(self) -> Any:
        """Return the plan of the same job whose sums have only the terms of the definition."""
        if self._exact is None:
            fallback = self._kind.fallback
            self._exact = fallback(self.simd, self.job, fallback.tiling(self.simd, self.job.problem))
        return self._exact

    def _mosaics(self, program: ProgramBuilder, shape: tuple[int, ...]) -> Place:
        """Return a buffer for as many mosaics as are convolved at a time; ``shape`` is that of some of them."""
        return program.buffer(self.cut.images * math.prod(shape[1:]) * self.simd.itemsize)

    def _copy(self, program: ProgramBuilder, task: Any, args: Any, planes: range, whole: Place, mosaics: Place) -> None:
        """Add a step that copies planes to mosaics or back; ``whole`` is where all planes are."""
        there = whole + planes.start * int(args["H"][0] * args["W"][0]) * self.simd.itemsize
        step = Step(task(self.simd), len(planes), workers.threads_for(self.job.problem.flops))
        program.add(args, zip(_OPERANDS, (there, mosaics), strict=True), [step])

    def _planes(self) -> Iterator[tuple[Any, range, range]]:
        """Yield the plan of each part of the images, and the planes that it has of the source and of the target."""
        for first, part in self._parts:
            end = first + part.job.problem.images
            source, target = (range(first * shape[1], end * shape[1]) for shape in (part.job.source, part.job.target))
            yield part, source, target


class PhasedConvolution(Epilogue, _Phased):
    """This plan is a forward pass or an input gradient."""

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> bool:
        """Fill ``target``; return False if the weight had NaN or infinity."""
        return self.execute(source, weight, bias, target) or bool(self.exact().run(source, weight, bias, target))

    def emit(self, program: ProgramBuilder, *places: Place | None, watch: bool = True) -> None:
        source, weight, bias, target = places
        assert source is not None
        assert target is not None
        pixels, results = (self._mosaics(program, shape) for shape in self._shapes)
        for part, read, written in self._planes():
            self._copy(program, split, self._source, read, source, pixels)
            part.emit(program, pixels, weight, bias, results, watch=watch)
            self._copy(program, merge, self._target, written, target, results)


class PhasedWeightGradient(_Phased):
    """This plan is a weight gradient: the sum of those of the mosaics."""

    def __init__(self, simd: Simd, job: Job, cut: PhasedTiling, kind: Any) -> None:
        super().__init__(simd, job, cut, kind)
        p = job.problem
        self.numbers = p.groups * p.rows * p.channels * len(p.taps)

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target`` with the weight gradient."""
        if not self.execute(source, grad, target):
            self.exact().run(source, grad, target)

    def emit(self, program: ProgramBuilder, *places: Place | None, watch: bool = True) -> None:
        source, grad, target = places
        assert source is not None
        assert grad is not None
        assert target is not None
        pixels, gradients = (self._mosaics(program, shape) for shape in self._shapes)
        several, size = len(self._parts) > 1, self.numbers * self.simd.itemsize
        sums = program.buffer(len(self._parts) * size) if several else target
        for number, (part, read, written) in enumerate(self._planes()):
            self._copy(program, split, self._source, read, source, pixels)
            self._copy(program, split, self._target, written, grad, gradients)
            part.emit(program, pixels, gradients, sums + number * size, watch=watch)
        if several:
            reduce.record(program, self.simd, sums, target, self.numbers, len(self._parts))
