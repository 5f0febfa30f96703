"""Jobs in parts, each without the taps that meet nothing but padding there, as with dilation 12 on 28 x 28 pixels.

A convolution's parts are rectangles of the target, an adjoint's for the weight are taps, and rectangles of the gradient
that they meet. Both are blocked matrix products, and what would cost most if each part did it alone is done once:

    convolution              pack the whole weight, all channels of a tap and then the next's, PACK_CYCLES a number;
                             for each part, multiply by the panels of its taps
    adjoint for the weight   for each part, fill an array of channels x channels x its taps, which lies in one piece;
                             then put them into the order of the weight

With weights of their own, the nine parts of 3 x 3 taps would pack 49 taps instead of 9: for 256 channels 1.5 ms, where
the multiply-adds of an image take 2.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np

from fastconv.backends.jit import address_of, inner
from fastconv.backends.numba_cpu import batch, buffers, implicit_gemm, microkernel
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu import pool as workers
from fastconv.backends.numba_cpu.jobs import Job, split, split_by_taps
from fastconv.backends.numba_cpu.memory import FRAME_BYTES, execute
from fastconv.backends.numba_cpu.plan import Plan
from fastconv.backends.numba_cpu.planner import choose
from fastconv.backends.numba_cpu.program import Place, Recorder
from fastconv.backends.numba_cpu.simd import Simd, load_integer, load_scalar, store_scalar, zero
from fastconv.backends.numba_cpu.tiles import Tiling, tiling
from fastconv.backends.numba_cpu.weight_plans import GemmWeightAdjoint
from fastconv.geometry import ConvGeometry

PACK_CYCLES = 2
"""Cycles of a number of the weight that is packed: its neighbours in the panel lie a whole kernel apart."""

MOST_PARTS = 32
"""Dilated kernels of 3 x 3 make 25 at most; large kernels on small images would make one of each pixel."""

PLACE_CYCLES = 2
"""Cycles of a number of the weight's gradient that is put into its place."""

_NOWHERE = F.PARTIAL, F.WORKSPACE
"""Fields of memory that a step doesn't use."""


def in_parts(job: Job) -> Job:
    """The convolution ``job`` in parts; as it is where the same taps meet pixels everywhere."""
    taps = job.problem.taps
    numbers = {tap[2]: number for number, tap in enumerate(taps)}
    parts = []
    for part in split(job):
        numbered = tuple((dy, dx, numbers[place]) for dy, dx, place in part.problem.taps)
        parts.append(replace(part, problem=replace(part.problem, taps=numbered), by_taps=len(taps)))
    return replace(job, parts=tuple(parts), in_order=False, left_out=True) if len(parts) > 1 else job


def weight_in_parts(job: Job, g: ConvGeometry) -> Job:
    """The adjoint for the weight ``job`` in parts; as it is where all taps meet the same pixels."""
    parts = split_by_taps(job)
    if not 1 < len(parts) <= MOST_PARTS:
        return job
    p = job.problem
    kernel = math.prod(g.weight_shape) // (p.groups * p.rows * p.channels)
    return replace(
        job, parts=tuple(parts), weight=(p.channels * kernel, kernel, p.rows * p.channels * kernel), left_out=True
    )


def part_tilings(simd: Simd, job: Job) -> list[Tiling]:
    """The cuts of a convolution's parts, all with the tile's rows of the largest, since they read the same panels."""

    def cut(part: Job, height: int | None) -> Tiling:
        p = part.problem
        found = tiling(simd, p.groups, p.rows, p.points, p.channels, p.lattice[1], 1, height)
        return replace(found, cycles=found.cycles * len(p.taps))

    largest = max(job.parts, key=lambda part: part.problem.flops)
    height = cut(largest, None).tile_rows
    return [cut(part, height) for part in job.parts]


def part_cycles(simd: Simd, job: Job) -> float:
    """Predicted for all parts of a job, and for what they have in common."""
    p = job.problem
    if not job.along_rows:
        packing = PACK_CYCLES * p.groups * p.rows * p.channels * len(p.taps)
        return packing + sum(cut.cycles for cut in part_tilings(simd, job))
    cycles = PLACE_CYCLES * p.groups * p.rows * p.channels * len(p.taps)
    return cycles + sum(_weight_cut(simd, part).cycles for part in job.parts)


def _weight_cut(simd: Simd, part: Job) -> Tiling:
    found = choose(simd, part.problem, "gemm", weight=True)
    assert found is not None
    assert isinstance(found.cut, Tiling)
    return found.cut


class _Packing(Plan):
    """The weight of all parts, packed tap by tap."""

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        p = job.problem
        super().__init__(simd, job, cut, 0, 0, ((F.WEIGHT, F.PANELS), _NOWHERE))
        self.frame[F.STEPS] = p.channels
        self.numbers = p.groups * cut.panels * cut.tile_rows * p.channels * len(p.taps)
        self._first = batch.weight_task(simd), p.groups * cut.panels

    def run(self, weight: np.ndarray, panels: np.ndarray) -> bool:
        """Fill ``panels``; whether the weight was finite."""
        return self._execute(weight, panels)


class _Part(Plan):
    """A rectangle of the target, from panels that are packed already."""

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        shape = cut.tile_rows, cut.tile_vectors
        slot = implicit_gemm.workspace_bytes(simd, cut.steps, cut.block_tiles, *shape)
        fields = (F.SOURCE, F.PANELS, F.BIAS, F.TARGET), _NOWHERE
        super().__init__(simd, job, cut, slot, 0, fields)
        self.frame[F.KERNEL] = microkernel.packed(simd, *shape)
        self._first = implicit_gemm.multiply_task(simd), job.problem.groups * cut.blocks * cut.panel_blocks

    def run(self, source: np.ndarray, panels: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> None:
        """Fill the rectangle of ``target``."""
        self._execute(source, panels, bias, target)


class PartedConvolution:
    """A convolution in parts."""

    def __init__(self, simd: Simd, job: Job) -> None:
        cuts = part_tilings(simd, job)
        self.simd, self.job, self.cut = simd, job, cuts[0]
        self._packing = _Packing(simd, job, self.cut)
        parts = zip(job.parts, cuts, strict=True)
        self._parts = [_Part(simd, replace(part, floor=job.floor), cut) for part, cut in parts]
        self.slot_bytes = max(part.slot_bytes for part in self._parts)

    @property
    def nbytes(self) -> int:
        """Returns the bytes of the parts' plans and of the packing's, about."""
        return self._packing.nbytes + sum(part.nbytes for part in self._parts)

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> bool:
        """Fill the lattice of ``target``; whether the weight was finite."""
        panels = buffers.empty((self._packing.numbers,), target.dtype)
        finite = self._packing.run(weight, panels)
        for part in self._parts:
            part.run(source, panels, bias, target)
        return finite

    def record(self, program: Recorder, *places: Place | None, watch: bool = False) -> None:
        """As `Plan.record`."""
        source, weight, bias, target = places
        panels = program.room(self._packing.numbers * self.simd.itemsize)
        self._packing.record(program, weight, panels, watch=watch)
        for part in self._parts:
            part.record(program, source, panels, bias, target)


class PartedWeightAdjoint:
    """An adjoint for the weight in parts."""

    def __init__(self, simd: Simd, job: Job) -> None:
        cuts = [_weight_cut(simd, part) for part in job.parts]
        self.simd, self.job, self.cut = simd, job, cuts[0]
        self._parts = [GemmWeightAdjoint(simd, part, cut) for part, cut in zip(job.parts, cuts, strict=True)]
        self.slot_bytes = max(part.slot_bytes for part in self._parts)
        self._begins = np.cumsum([0, *(part.numbers for part in self._parts)]).tolist()
        self._kernel = job.weight[1]
        pairs = job.problem.groups * job.problem.rows * job.problem.channels
        # Of each element of a kernel, where its first number is and how far apart they are; 0 where it meets no pixel.
        table = np.zeros((self._kernel, 2), np.int64)
        for begin, part in zip(self._begins, job.parts, strict=False):
            for number, (_, _, place) in enumerate(part.problem.taps):
                table[place] = begin + number, len(part.problem.taps)
        self._table = table
        self._frame = np.zeros(F.COUNT, np.int64)
        self._frame[F.OFFSETS], self._frame[F.TAP_COUNT] = table.ctypes.data, self._kernel
        self._frame[F.POINTS] = pairs
        self._step = place_task(simd), -(-pairs // _CHUNK)

    @property
    def nbytes(self) -> int:
        """Returns the bytes of the parts' plans and of the table, about."""
        return self._frame.nbytes + self._table.nbytes + sum(part.nbytes for part in self._parts)

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target``, the weight's gradient; 0 for taps that meet no pixel."""
        sums = buffers.empty((self._begins[-1],), target.dtype)
        for part, begin in zip(self._parts, self._begins, strict=False):
            part.run(source, grad, sums[begin:])
        memory = buffers.scratch(FRAME_BYTES)
        threads = workers.threads_for(self.job.problem.flops)
        fields, arrays = (F.SOURCE, F.TARGET), (sums, target)
        execute(self._frame, memory, fields, arrays, _NOWHERE, (0, 0), self._step, (0, 0), threads)
        buffers.give_back(memory)


_CHUNK = 512
"""Pairs of channels in a task: their kernels of 3 x 3 take 18 KiB, which stay in the L1 cache from tap to tap."""


@inner
def _put_in_place(simd, frame, task):
    """The kernels of some pairs of channels, an element of all after another's."""
    kernel, table = load_integer(frame, F.TAP_COUNT), load_integer(frame, F.OFFSETS)
    sums, target = load_integer(frame, F.SOURCE), load_integer(frame, F.TARGET)
    first, end = task * _CHUNK, min(load_integer(frame, F.POINTS), (task + 1) * _CHUNK)
    for place in range(kernel):
        begin, step = load_integer(table, 2 * place), load_integer(table, 2 * place + 1)
        if step == 0:
            for pair in range(first, end):
                store_scalar(simd, target, pair * kernel + place, zero(simd))
        else:
            for pair in range(first, end):
                store_scalar(simd, target, pair * kernel + place, load_scalar(simd, sums, begin + pair * step))


@cache
def place_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that puts taps into the weight's order."""

    def put_in_place(frame, task, slot):
        _put_in_place(simd, frame, task)

    return address_of(put_in_place, 3)
