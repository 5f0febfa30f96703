"""These plans convolve images with dilated kernels by way of their phases, some images at a time.

The source is copied to phases (copy.py), these are convolved by another plan as images of their own, and the phases of
the result are copied to the target. Each copy reads and writes an array once, which pays where an algorithm for
neighbouring taps saves more: minimal filtering. A weight gradient takes the phases of both operands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from fastconv.backends.numba_cpu.conv.phases.arguments import PhaseArguments
from fastconv.backends.numba_cpu.conv.phases.copy import merge, split
from fastconv.backends.numba_cpu.conv.phases.tiling import PhasedTiling, phases_of
from fastconv.backends.numba_cpu.gemm import reduce
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.runtime import thread_pool as workers
from fastconv.backends.numba_cpu.runtime.program import Operation, Place, ProgramBuilder, Step
from fastconv.backends.numba_cpu.simd import Simd

_OPERANDS = PhaseArguments.positions("image", "phases")


class _Phased(Operation):
    """This class holds the plans of the phases, and the arguments of the copies."""

    def __init__(self, simd: Simd, job: Job, cut: PhasedTiling, kind: Any) -> None:
        super().__init__()
        p, phases = job.problem, phases_of(job.problem)
        assert phases is not None
        self.simd, self.job, self.cut, self._kind = simd, job, cut, kind
        (down, right), inner = phases.dilation, phases.problem
        self._each = down * right

        @cache
        def part(images: int) -> Any:
            problem = replace(inner, images=images * self._each)
            shapes = [
                (problem.images, p.groups * channels, *size)
                for channels, size in ((p.channels, inner.size), (p.rows, inner.lattice))
            ]
            here = replace(job, problem=problem, source=shapes[0], target=shapes[1])
            return kind(simd, here, kind.tiling(simd, problem))

        images = range(0, p.images, cut.images)
        self._parts = [(first, part(min(cut.images, p.images - first))) for first in images]
        self.thread_bytes = part(cut.images).thread_bytes
        steps = {"DY": down, "DX": right}
        (H, W), (I, J), (top, left) = p.size, inner.size, phases.start
        self._source = PhaseArguments.new(
            channels=p.groups * p.channels, H=H, W=W, I=I, J=J, top=top, left=left, **steps
        )
        (H, W), (I, J) = p.lattice, inner.lattice
        self._target = PhaseArguments.new(channels=p.groups * p.rows, H=H, W=W, I=I, J=J, **steps)
        self._exact: Any = None

    @property
    def nbytes(self) -> int:
        """Return the size of its own arguments and of the phases' plans, each counted once, in bytes."""
        parts = {id(part): part.nbytes for _, part in self._parts}
        return self._source.nbytes + self._target.nbytes + sum(parts.values())

    def exact(self) -> Any:
        """Return the plan of the same job whose sums have only the terms of the definition."""
        if self._exact is None:
            fallback = self._kind.fallback
            self._exact = fallback(self.simd, self.job, fallback.tiling(self.simd, self.job.problem))
        return self._exact

    def _buffer(self, program: ProgramBuilder, args: Any) -> Place:
        """Return a buffer for the phases of as many images as are convolved at a time."""
        numbers = self._each * int(args["channels"][0] * args["I"][0] * args["J"][0])
        return program.buffer(self.cut.images * numbers * self.simd.itemsize)

    def _copy(self, program: ProgramBuilder, task: Any, args: Any, images: range, whole: Place, phases: Place) -> None:
        """Add a step that copies images to their phases or back; ``whole`` is where all images are."""
        channels, plane = int(args["channels"][0]), int(args["H"][0] * args["W"][0])
        there = whole + images.start * channels * plane * self.simd.itemsize
        step = Step(task(self.simd), len(images) * channels, workers.threads_for(self.job.problem.flops))
        program.add(args, zip(_OPERANDS, (there, phases), strict=True), [step])

    def _images(self) -> Iterator[tuple[range, Any]]:
        """Yield the images that are convolved together, and the plan of their phases."""
        for first, part in self._parts:
            yield range(first, first + part.job.problem.images // self._each), part


class PhasedConvolution(_Phased):
    """This plan is a forward pass or an input gradient."""

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> bool:
        """Fill ``target``; return False if the weight had NaN or infinity."""
        return self.execute(source, weight, bias, target) or bool(self.exact().run(source, weight, bias, target))

    def emit(self, program: ProgramBuilder, *places: Place | None, watch: bool = True) -> None:
        source, weight, bias, target = places
        assert source is not None
        assert target is not None
        pixels, results = self._buffer(program, self._source), self._buffer(program, self._target)
        for images, part in self._images():
            self._copy(program, split, self._source, images, source, pixels)
            part.emit(program, pixels, weight, bias, results, watch=watch)
            self._copy(program, merge, self._target, images, target, results)


class PhasedWeightGradient(_Phased):
    """This plan is a weight gradient: the sum of those of the images' phases."""

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
        pixels, gradients = self._buffer(program, self._source), self._buffer(program, self._target)
        several, size = len(self._parts) > 1, self.numbers * self.simd.itemsize
        sums = program.buffer(len(self._parts) * size) if several else target
        for number, (images, part) in enumerate(self._images()):
            self._copy(program, split, self._source, images, source, pixels)
            self._copy(program, split, self._target, images, grad, gradients)
            part.emit(program, pixels, gradients, sums + number * size, watch=watch)
        if several:
            reduce.record(program, self.simd, sums, target, self.numbers, len(self._parts))
