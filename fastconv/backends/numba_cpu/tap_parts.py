"""Jobs in parts, each without the taps that meet nothing but padding there, as with dilation 12 on 28 x 28 pixels.

A convolution's parts are rectangles of the target, an adjoint's for the weight are taps, and rectangles of the gradient
that they meet. Each is a blocked matrix product with a frame of its own, and all are done as one job, so that its tasks
may be large, and what would cost most if each part did it alone is done once:

    convolution              pack the whole weight, all channels of a tap and then the next's
                             for each part, multiply by the panels of its taps
    adjoint for the weight   for each part, fill an array of channels x channels x its taps, which lies in one piece
                             put them into the order of the weight

With weights of their own, the nine parts of 3 x 3 taps would pack 49 taps instead of 9: for 256 channels 1.5 ms, where
the multiply-adds of an image take 2.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np

from fastconv.backends.jit import address_of, inner
from fastconv.backends.numba_cpu import batch, implicit_gemm, microkernel, weight_gemm
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.convolution_plans import Convolution, panel_bytes
from fastconv.backends.numba_cpu.jobs import Job, split, split_by_taps
from fastconv.backends.numba_cpu.memory import FRAME_BYTES
from fastconv.backends.numba_cpu.plan import make_frame
from fastconv.backends.numba_cpu.planner import Candidate, seconds
from fastconv.backends.numba_cpu.simd import (
    Simd,
    load_integer,
    load_scalar,
    store_integer,
    store_scalar,
    zero,
)
from fastconv.backends.numba_cpu.tiles import TASKS, Tiling, gather_cycles, tiling, weight_tiling
from fastconv.backends.numba_cpu.weight_plans import WeightAdjoint
from fastconv.geometry import ConvGeometry

PACK_CYCLES = 2
"""Cycles of a number of the weight that is packed: its neighbours in the panel lie a whole kernel apart."""

MOST_PARTS = 32
"""Dilated kernels of 3 x 3 make 25 at most; large kernels on small images would make one of each pixel."""

PLACE_CYCLES = 2
"""Cycles of a number of the weight's gradient that is put into its place."""


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
    """The cuts of the parts, those of a convolution all with the same rows in a tile, since they read one weight."""
    flops = sum(part.problem.flops for part in job.parts)

    def cut(part: Job, height: int | None = None) -> Tiling:
        p, taps = part.problem, len(part.problem.taps)
        tasks = -(-TASKS * p.flops // flops)
        if job.along_rows:
            found = weight_tiling(simd, p.groups, p.rows, p.channels * taps, p.points, p.lattice[1], taps, tasks)
            # The gradient is gathered too.
            vectors = p.groups * p.rows * found.blocks * -(-p.points // simd.lanes)
            return replace(found, cycles=found.cycles + vectors * gather_cycles(simd, p.lattice[1], p.rows))
        found = tiling(simd, p.groups, p.rows, p.points, p.channels, p.lattice[1], 1, tasks, height)
        return replace(found, cycles=found.cycles * taps)

    height = None if job.along_rows else cut(max(job.parts, key=lambda part: part.problem.flops)).tile_rows
    return [cut(part, height) for part in job.parts]


def part_cycles(simd: Simd, job: Job) -> float:
    """Predicted for all parts of a job, and for what they have in common."""
    p = job.problem
    common = PLACE_CYCLES if job.along_rows else PACK_CYCLES
    return common * p.groups * p.rows * p.channels * len(p.taps) + sum(cut.cycles for cut in part_tilings(simd, job))


def explain_parts(simd: Simd, job: Job, threads: int) -> tuple[float, list[str]]:
    """The predicted seconds on so many threads, and lines that tell of the parts."""
    cuts = part_tilings(simd, job)
    tasks = sum(
        part.problem.groups * c.blocks * c.panel_blocks * c.splits for part, c in zip(job.parts, cuts, strict=True)
    )
    time = seconds(simd, Candidate("gemm", cuts[0], part_cycles(simd, job), tasks), threads)
    lines = [
        f"  * gemm    {1e3 * time:8.3f} ms  in {len(cuts)} parts, each without the taps that meet only padding there"
    ]
    for part, cut in zip(job.parts, cuts, strict=True):
        rows, columns = part.problem.lattice
        lines.append(f"      {rows} x {columns} pixels, {len(part.problem.taps)} taps: {cut}")
    return time, lines


class _Frames:
    """The frames of all parts, addresses left out, one behind the other."""

    def __init__(self, simd: Simd, parts: list[Job], cuts: list[Tiling]) -> None:
        made = [make_frame(simd, cut, part, 0) for part, cut in zip(parts, cuts, strict=True)]
        self.words = np.stack([frame for frame, _ in made])
        self._tables = [table for _, table in made]
        self.words[:, F.KERNEL] = [microkernel.packed(simd, cut.tile_rows, cut.tile_vectors) for cut in cuts]
        self.tasks = int(self.words[:, _TASKS].prod(1).sum())

    @property
    def nbytes(self) -> int:
        """Returns the bytes of the frames and of the tables that they refer to."""
        return self.words.nbytes + sum(table.nbytes for table in self._tables)


_TASKS = (F.GROUPS, F.BLOCKS, F.PANEL_BLOCKS, F.SPLITS)
"""Fields whose product is the number of a part's tasks."""


class PartedConvolution(Convolution):
    """A convolution, or an adjoint for the input, in rectangles of the target."""

    def __init__(self, simd: Simd, job: Job) -> None:
        cuts, p = part_tilings(simd, job), job.problem
        slots = [implicit_gemm.workspace_bytes(simd, c.steps, c.block_tiles, c.tile_rows, c.tile_vectors) for c in cuts]
        super().__init__(simd, job, cuts[0], FRAME_BYTES + max(slots), panel_bytes(simd, p, cuts[0]), self._FIELDS)
        self._frames = _Frames(simd, [replace(part, floor=job.floor) for part in job.parts], cuts)
        self.frame[F.OFFSETS], self.frame[F.POINTS] = self._frames.words.ctypes.data, len(cuts)
        self.frame[F.STEPS] = p.channels
        self._first = batch.weight_task(simd), p.groups * cuts[0].panels
        self._second = convolve_task(simd), self._frames.tasks

    @property
    def nbytes(self) -> int:
        """As `Plan.nbytes`."""
        return super().nbytes + self._frames.nbytes


class PartedWeightAdjoint(WeightAdjoint):
    """An adjoint for the weight by taps."""

    def __init__(self, simd: Simd, job: Job) -> None:
        cuts, kernel = part_tilings(simd, job), job.weight[1]
        slots = [
            weight_gemm.workspace_bytes(simd, c.steps, c.block_tiles, c.block_panels, c.tile_rows, c.tile_vectors)
            for c in cuts
        ]
        p = job.problem
        pairs = p.groups * p.rows * p.channels
        # Where the sums of each element of a kernel begin, how far apart its numbers are, and the parts to be added.
        table, total = np.zeros((kernel, TABLE_WORDS), np.int64), 0
        frames = _Frames(simd, list(job.parts), cuts)
        for part, cut, frame in zip(job.parts, cuts, frames.words, strict=True):
            taps = part.problem.taps
            for number, (_, _, place) in enumerate(taps):
                table[place] = total + number, len(taps), cut.splits
            frame[F.PARTIAL] = total * simd.itemsize
            total += pairs * len(taps) * cut.splits
        super().__init__(simd, job, replace(cuts[0], splits=1), FRAME_BYTES + max(slots), total * simd.itemsize)
        self._frames, self._table = frames, table
        self.frame[F.OFFSETS], self.frame[F.POINTS] = frames.words.ctypes.data, len(cuts)
        self.frame[F.PLACES], self.frame[F.TAP_COUNT] = table.ctypes.data, kernel
        self._first = correlate_task(simd), frames.tasks
        self._second = place_task(simd), -(-pairs // _CHUNK)

    @property
    def nbytes(self) -> int:
        """As `Plan.nbytes`."""
        return super().nbytes + self._frames.nbytes


@inner
def _enter(frame, task, slot):
    """The number of a task among those of its part; the part's frame is put at the beginning of the slot."""
    own = load_integer(frame, F.WORKSPACE) + slot * load_integer(frame, F.SLOT_BYTES)
    template = load_integer(frame, F.OFFSETS)
    for _ in range(load_integer(frame, F.POINTS)):
        tasks = load_integer(template, F.GROUPS) * load_integer(template, F.BLOCKS)
        tasks *= load_integer(template, F.PANEL_BLOCKS) * load_integer(template, F.SPLITS)
        if task < tasks:
            break
        task -= tasks
        template += 8 * F.COUNT
    for field in range(F.COUNT):
        store_integer(own, field, load_integer(template, field))
    store_integer(own, F.SOURCE, load_integer(frame, F.SOURCE))
    store_integer(own, F.WORKSPACE, own + FRAME_BYTES)
    return own, task


TABLE_WORDS = 3
"""Integers that say where the sums of an element of the kernel are."""

_CHUNK = 512
"""Pairs of channels in a task: their kernels of 3 x 3 take 18 KiB, which stay in the L1 cache from tap to tap."""


@inner
def _put_in_place(simd, frame, task):
    """The kernels of some pairs of channels, an element of all after another's; 0 for one that meets no pixel."""
    kernel, table = load_integer(frame, F.TAP_COUNT), load_integer(frame, F.PLACES)
    sums, target = load_integer(frame, F.PARTIAL), load_integer(frame, F.TARGET)
    pairs = load_integer(frame, F.GROUPS) * load_integer(frame, F.ROWS) * load_integer(frame, F.DEPTH)
    first, end = task * _CHUNK, min(pairs, (task + 1) * _CHUNK)
    for place in range(kernel):
        row = table + 8 * TABLE_WORDS * place
        begin, step, splits = load_integer(row, 0), load_integer(row, 1), load_integer(row, 2)
        for pair in range(first, end):
            total = zero(simd)
            if splits > 0:
                total = load_scalar(simd, sums, begin + pair * step)
                for split_number in range(1, splits):
                    total += load_scalar(simd, sums, begin + (split_number * pairs + pair) * step)
            store_scalar(simd, target, pair * kernel + place, total)


@cache
def convolve_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes one block of a rectangle."""

    def convolve_part(frame, task, slot):
        own, number = _enter(frame, task, slot)
        store_integer(own, F.PANELS, load_integer(frame, F.PANELS))
        store_integer(own, F.BIAS, load_integer(frame, F.BIAS))
        store_integer(own, F.TARGET, load_integer(frame, F.TARGET))
        implicit_gemm.multiply_block(simd, own, number, 0)

    return address_of(convolve_part, 3)


@cache
def correlate_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that computes one block of some taps' sums."""

    def correlate_part(frame, task, slot):
        own, number = _enter(frame, task, slot)
        sums = load_integer(frame, F.PARTIAL) + load_integer(own, F.PARTIAL)
        store_integer(own, F.WEIGHT, load_integer(frame, F.WEIGHT))
        store_integer(own, F.PARTIAL, sums)
        store_integer(own, F.TARGET, sums)
        weight_gemm.multiply_block(simd, own, number, 0)

    return address_of(correlate_part, 3)


@cache
def place_task(simd: Simd) -> int:
    """The address, compiled at the first call, of the task that puts sums into the weight's order."""

    def put_in_place(frame, task, slot):
        _put_in_place(simd, frame, task)

    return address_of(put_in_place, 3)
