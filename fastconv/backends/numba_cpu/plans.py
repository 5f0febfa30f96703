"""From a geometry to jobs: what each convolution primitive comes to, as frames for compiled tasks.

    forward          target = y, source = x, the taps in order
    adjoint for x    target = x, source = grad: a convolution again, with the weight's two channel axes exchanged.
                     A pixel h of x gets something from the taps r with h + pad - r * dilation divisible by the stride,
                     so with strides x falls into stride_h * stride_w lattices, each with taps of its own; nothing
                     is multiplied by zeros that a stride would put between the pixels of grad
    adjoint for w    reduction over pixels (weight_gemm.py)

A plan is made once for a geometry and data type; to run it takes the arrays' addresses and some memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from math import prod

import numpy as np

from fastconv.backends.numba_cpu import buffers, direct, direct_weight, implicit_gemm, microkernel, panels, weight_gemm
from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu import pool as workers
from fastconv.backends.numba_cpu.memory import FRAME_BYTES, execute
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tiles import (
    DirectTiling,
    Tiling,
    direct_tiling,
    direct_weight_tiling,
    tiling,
    weight_tiling,
)
from fastconv.geometry import ConvGeometry, Pair

Shape = tuple[int, ...]
Taps = list[tuple[int, int, int]]
"""dy, dx and the place in the kernel, of each tap."""

_PAGE = 4096

_PRODUCT_OPERANDS = (F.SOURCE, F.WEIGHT, F.BIAS, F.TARGET)
_WEIGHT_OPERANDS = (F.SOURCE, F.WEIGHT, F.TARGET)


def _page_after(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


@dataclass(frozen=True)
class Lattice:
    """The target pixels (first + index * step) of one job, and how the source is stepped through meanwhile."""

    size: Pair
    source_step: Pair = (1, 1)
    first: Pair = (0, 0)
    step: Pair = (1, 1)


@dataclass(frozen=True)
class Weight:
    """How a job reads the weight: elements between target channels, source channels and groups."""

    row: int
    depth: int
    group: int
    in_order: bool


@dataclass(frozen=True)
class Compiled:
    """The addresses of one data type's tasks."""

    pack_weight: int
    multiply: int
    convolve: int
    multiply_weight: int
    accumulate: int
    add_parts: int
    limits: np.ndarray


@cache
def compiled(simd: Simd) -> Compiled:
    """The tasks for ``simd``, compiled at the first call."""
    return Compiled(
        panels.weight_task(simd),
        implicit_gemm.multiply_task(simd),
        direct.convolve_task(simd),
        weight_gemm.multiply_task(simd),
        direct_weight.accumulate_task(simd),
        weight_gemm.add_task(simd),
        np.array([-np.inf, -np.inf], simd.dtype),
    )


def _frame(
    simd: Simd,
    cut: Tiling | DirectTiling,
    source: Shape,
    target: Shape,
    groups: int,
    lattice: Lattice,
    taps: Taps,
    slot_bytes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The frame, addresses of operands left out, and the table of taps that it refers to."""
    table = np.array(taps, np.int64).reshape(-1)
    values = {
        F.TAPS: table.ctypes.data,
        F.LIMITS: compiled(simd).limits.ctypes.data,
        F.SLOT_BYTES: _page_after(slot_bytes),
        F.N: source[0],
        F.GROUPS: groups,
        F.DEPTH: source[1] // groups,
        F.ROWS: target[1] // groups,
        F.H: source[2],
        F.W: source[3],
        F.TARGET_H: target[2],
        F.TARGET_W: target[3],
        F.I: lattice.size[0],
        F.J: lattice.size[1],
        F.DI: lattice.source_step[0],
        F.DJ: lattice.source_step[1],
        F.Y0: lattice.first[0],
        F.YI: lattice.step[0],
        F.X0: lattice.first[1],
        F.XJ: lattice.step[1],
        F.TAP_COUNT: len(taps),
        F.TILE_ROWS: cut.tile_rows,
        F.TILE_VECTORS: cut.tile_vectors,
        F.BLOCKS: cut.blocks,
        F.BLOCK_PANELS: cut.block_panels,
        F.PANEL_BLOCKS: cut.panel_blocks,
    }
    if isinstance(cut, Tiling):
        values |= {
            F.KERNEL: microkernel.packed(simd, cut.tile_rows, cut.tile_vectors),
            F.STEPS: cut.steps,
            F.BLOCK_TILES: cut.block_tiles,
            F.SPLITS: cut.splits,
            F.SPLIT_STEPS: cut.split_steps,
        }
    frame = np.zeros(F.COUNT, np.int64)
    for field, value in values.items():
        frame[field] = value
    return frame, table


class Product:
    """An implicit matrix product: every target pixel of a lattice from the same taps of the source."""

    def __init__(
        self, simd: Simd, source: Shape, target: Shape, groups: int, lattice: Lattice, taps: Taps, weight: Weight
    ) -> None:
        depth = source[1] // groups * len(taps)
        pixels = source[0] * prod(lattice.size)
        cut = tiling(simd, groups, target[1] // groups, pixels, depth)
        slot = implicit_gemm.workspace_bytes(simd, cut.steps, cut.block_tiles, cut.tile_rows, cut.tile_vectors)
        self.frame, self._table = _frame(simd, cut, source, target, groups, lattice, taps, slot)
        self.frame[F.WEIGHT_ROW], self.frame[F.WEIGHT_DEPTH] = weight.row, weight.depth
        self.frame[F.WEIGHT_GROUP], self.frame[F.IN_ORDER] = weight.group, weight.in_order
        self.simd = simd
        self.cut = cut
        self.flops = 2 * pixels * target[1] * depth
        self._panels = groups * cut.panels
        self._start = _page_after(FRAME_BYTES + self._panels * cut.tile_rows * depth * simd.itemsize)
        self._slot_bytes = int(self.frame[F.SLOT_BYTES])
        self._tasks = groups * cut.blocks * cut.panel_blocks

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> None:
        """Fill the lattice of ``target``."""
        threads = workers.threads_for(self.flops)
        memory = buffers.scratch(self._start + threads * self._slot_bytes)
        tasks = compiled(self.simd)
        execute(
            self.frame,
            memory,
            _PRODUCT_OPERANDS,
            (source, weight, bias, target),
            (F.PANELS, F.WORKSPACE),
            (FRAME_BYTES, self._start),
            (tasks.pack_weight, self._panels),
            (tasks.multiply, self._tasks),
            threads,
        )
        buffers.give_back(memory)


class Direct:
    """A direct convolution: every target pixel of a lattice from the same taps of the source, read in place."""

    def __init__(
        self,
        simd: Simd,
        cut: DirectTiling,
        source: Shape,
        target: Shape,
        groups: int,
        lattice: Lattice,
        taps: Taps,
        weight: Weight,
    ) -> None:
        depth = source[1] // groups
        slot = direct.workspace_bytes(simd, depth, cut.channel, cut.tile_rows, cut.tile_vectors)
        self.frame, self._table = _frame(simd, cut, source, target, groups, lattice, taps, slot)
        self._tables = _describe_planes(self.frame, cut, depth, lattice, taps)
        self.frame[F.KERNEL] = microkernel.indirect(simd, cut.tile_rows, cut.tile_vectors)
        self.frame[F.WEIGHT_ROW], self.frame[F.WEIGHT_DEPTH] = weight.row, weight.depth
        self.frame[F.WEIGHT_GROUP], self.frame[F.IN_ORDER] = weight.group, weight.in_order
        self.simd = simd
        self.cut = cut
        self.flops = 2 * source[0] * prod(lattice.size) * target[1] * depth * len(taps)
        self._panels = groups * cut.panels
        self._start = _page_after(FRAME_BYTES + self._panels * cut.tile_rows * depth * len(taps) * simd.itemsize)
        self._slot_bytes = int(self.frame[F.SLOT_BYTES])
        self._tasks = source[0] * groups * cut.blocks * cut.panel_blocks

    def run(self, source: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, target: np.ndarray) -> None:
        """Fill the lattice of ``target``."""
        threads = workers.threads_for(self.flops)
        memory = buffers.scratch(self._start + threads * self._slot_bytes)
        tasks = compiled(self.simd)
        execute(
            self.frame,
            memory,
            _PRODUCT_OPERANDS,
            (source, weight, bias, target),
            (F.PANELS, F.WORKSPACE),
            (FRAME_BYTES, self._start),
            (tasks.pack_weight, self._panels),
            (tasks.convolve, self._tasks),
            threads,
        )
        buffers.give_back(memory)


def _describe_planes(
    frame: np.ndarray, cut: DirectTiling, depth: int, lattice: Lattice, taps: Taps
) -> tuple[np.ndarray, np.ndarray]:
    """Put into the frame how the source's planes are laid out; the tables that it refers to."""
    down, right = lattice.source_step
    phases, (first_y, first_x), reach = _phases(lattice.source_step, taps)
    plane_rows = cut.block_rows + reach[0]
    within = []
    for dy, dx, _ in taps:
        row = phases.index((dy % down, dx % right)) * plane_rows + dy // down - first_y
        within.append(row * cut.plane_w + dx // right - first_x)
    offsets = (np.arange(depth)[:, None] * cut.channel + np.array(within)).astype(np.int64).reshape(-1)
    corners = np.array(phases, np.int64).reshape(-1)
    values = {
        F.OFFSETS: offsets.ctypes.data,
        F.PHASES: corners.ctypes.data,
        F.PHASE_COUNT: len(phases),
        F.PLANE_ROWS: plane_rows,
        F.PLANE_W: cut.plane_w,
        F.FIRST_Y: first_y,
        F.FIRST_X: first_x,
        F.CHANNEL: cut.channel,
        F.BLOCK_ROWS: cut.block_rows,
    }
    for field, value in values.items():
        frame[field] = value
    return offsets, corners


def _phases(step: Pair, taps: Taps) -> tuple[list[Pair], Pair, Pair]:
    """The source's phases that taps read, the first row and column of their planes, and their reach, in steps."""
    phases = sorted({(dy % step[0], dx % step[1]) for dy, dx, _ in taps})
    rows, columns = [dy // step[0] for dy, _, _ in taps], [dx // step[1] for _, dx, _ in taps]
    return phases, (min(rows), min(columns)), (max(rows) - min(rows), max(columns) - min(columns))


class WeightProduct:
    """The adjoint for the weight."""

    def __init__(self, simd: Simd, g: ConvGeometry) -> None:
        taps = _forward_taps(g)
        rows, columns = g.K // g.groups, g.C // g.groups * len(taps)
        pixels = g.N * g.P * g.Q
        source, lattice = g.input_shape, Lattice((g.P, g.Q), g.stride)
        if _is_pointwise(g):
            source, lattice = (g.N, g.C, 1, g.H * g.W), Lattice((1, g.H * g.W))
        cut = weight_tiling(simd, g.groups, rows, columns, pixels)
        slot = weight_gemm.workspace_bytes(
            simd, cut.steps, cut.block_tiles, cut.block_panels, cut.tile_rows, cut.tile_vectors
        )
        self.frame, self._table = _frame(simd, cut, source, g.output_shape, g.groups, lattice, taps, slot)
        self.frame[F.IN_ORDER] = _is_pointwise(g)
        self.simd = simd
        self.cut = cut
        self.flops = g.flops
        self._numbers = g.groups * rows * columns
        parts = cut.splits if cut.splits > 1 else 0
        self._start = _page_after(FRAME_BYTES + parts * self._numbers * simd.itemsize)
        self._slot_bytes = int(self.frame[F.SLOT_BYTES])
        self._tasks = g.groups * cut.blocks * cut.panel_blocks * cut.splits

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target``, the weight's gradient."""
        threads = workers.threads_for(self.flops)
        memory = buffers.scratch(self._start + threads * self._slot_bytes)
        tasks = compiled(self.simd)
        execute(
            self.frame,
            memory,
            _WEIGHT_OPERANDS,
            (source, grad, target),
            (F.PARTIAL, F.WORKSPACE),
            (FRAME_BYTES, self._start),
            (tasks.multiply_weight, self._tasks),
            (tasks.add_parts, weight_gemm.add_tasks(self._numbers) if self.cut.splits > 1 else 0),
            threads,
        )
        buffers.give_back(memory)


class DirectWeight:
    """The adjoint for the weight with pixels in the lanes."""

    def __init__(self, simd: Simd, cut: DirectTiling, g: ConvGeometry) -> None:
        taps, lattice = _forward_taps(g), Lattice((g.P, g.Q), g.stride)
        depth, rows, columns = g.C // g.groups, g.K // g.groups, g.C // g.groups * len(taps)
        plane = -(-cut.block_rows * cut.plane_w // simd.lanes) * simd.lanes
        slot = direct_weight.workspace_bytes(simd, depth, cut.channel, cut.block_panels * cut.tile_rows, plane)
        self.frame, self._table = _frame(simd, cut, g.input_shape, g.output_shape, g.groups, lattice, taps, slot)
        self._tables = _describe_planes(self.frame, cut, depth, lattice, taps)
        fewer_rows, fewer_taps = rows % cut.tile_rows or cut.tile_rows, columns % cut.tile_vectors or cut.tile_vectors
        shapes = [(m, t) for m in (cut.tile_rows, fewer_rows) for t in (cut.tile_vectors, fewer_taps)]
        self._kernels = np.array([direct_weight.kernel(simd, m, t) for m, t in shapes], np.int64)
        self.frame[F.KERNEL] = self._kernels.ctypes.data
        self.frame[F.SPLITS], self.frame[F.SPLIT_STEPS] = cut.splits, cut.split_steps
        self.simd = simd
        self.cut = cut
        self.flops = g.flops
        self._numbers = g.groups * rows * columns
        parts = cut.splits if cut.splits > 1 else 0
        self._start = _page_after(FRAME_BYTES + parts * self._numbers * simd.itemsize)
        self._slot_bytes = int(self.frame[F.SLOT_BYTES])
        self._tasks = cut.splits * g.groups * cut.panel_blocks
        self._exact = cache(lambda: WeightProduct(simd, g))

    def run(self, source: np.ndarray, grad: np.ndarray, target: np.ndarray) -> None:
        """Fill ``target``, the weight's gradient."""
        threads = workers.threads_for(self.flops)
        memory = buffers.scratch(self._start + threads * self._slot_bytes)
        tasks = compiled(self.simd)
        execute(
            self.frame,
            memory,
            _WEIGHT_OPERANDS,
            (source, grad, target),
            (F.PARTIAL, F.WORKSPACE),
            (FRAME_BYTES, self._start),
            (tasks.accumulate, self._tasks),
            (tasks.add_parts, weight_gemm.add_tasks(self._numbers) if self.cut.splits > 1 else 0),
            threads,
        )
        buffers.give_back(memory)
        if np.isnan(target).any():
            self._exact().run(source, grad, target)


def _is_pointwise(g: ConvGeometry) -> bool:
    """Whether every output pixel comes from the input pixel at its own place."""
    return g.R == g.S == 1 and g.stride == (1, 1) and not any(g.padding)


def _forward_taps(g: ConvGeometry) -> Taps:
    top, _, left, _ = g.padding
    return [(r * g.dilation[0] - top, s * g.dilation[1] - left, r * g.S + s) for r in range(g.R) for s in range(g.S)]


def _convolution(
    simd: Simd,
    algorithm: str | None,
    source: Shape,
    target: Shape,
    groups: int,
    lattice: Lattice,
    taps: Taps,
    weight: Weight,
) -> Product | Direct:
    """The plan by the algorithm that is asked for, or by the one that should take less time."""
    phases, _, reach = _phases(lattice.source_step, taps)
    cut = direct_tiling(
        simd, source[0], groups, target[1] // groups, source[1] // groups, lattice.size, reach, len(phases), len(taps)
    )
    product = Product(simd, source, target, groups, lattice, taps, weight)
    if cut is None or algorithm == "gemm" or (algorithm is None and product.cut.cycles <= cut.cycles):
        return product
    return Direct(simd, cut, source, target, groups, lattice, taps, weight)


@lru_cache(maxsize=512)
def forward(simd: Simd, g: ConvGeometry, algorithm: str | None = None) -> Product | Direct:
    """The plan of the convolution itself."""
    depth, kernel = g.C // g.groups, g.R * g.S
    weight = Weight(depth * kernel, kernel, g.K // g.groups * depth * kernel, in_order=True)
    source, target, lattice = g.input_shape, g.output_shape, Lattice((g.P, g.Q), g.stride)
    if _is_pointwise(g):
        # Without taps at a distance rows don't matter: the plane may be one row, and every vector one run.
        source, target = (g.N, g.C, 1, g.H * g.W), (g.N, g.K, 1, g.P * g.Q)
        lattice = Lattice((1, g.P * g.Q))
    return _convolution(simd, algorithm, source, target, g.groups, lattice, _forward_taps(g), weight)


@lru_cache(maxsize=512)
def input_adjoint(
    simd: Simd, g: ConvGeometry, algorithm: str | None = None
) -> tuple[tuple[Product | Direct, ...], bool]:
    """The plans of the adjoint for the input, one for each lattice, and whether these cover every pixel."""
    depth, kernel = g.C // g.groups, g.R * g.S
    weight = Weight(kernel, depth * kernel, g.K // g.groups * depth * kernel, in_order=False)
    if _is_pointwise(g):
        source, target = (g.N, g.K, 1, g.P * g.Q), (g.N, g.C, 1, g.H * g.W)
        return (
            _convolution(simd, algorithm, source, target, g.groups, Lattice((1, g.H * g.W)), [(0, 0, 0)], weight),
        ), True
    products = []
    complete = True
    for first in np.ndindex(*g.stride):
        size = tuple(
            -(-(length - begin) // step) for length, begin, step in zip((g.H, g.W), first, g.stride, strict=True)
        )
        if min(size) <= 0:
            continue
        rows = _adjoint_taps(first[0] + g.padding[0], g.R, g.stride[0], g.dilation[0])
        columns = _adjoint_taps(first[1] + g.padding[2], g.S, g.stride[1], g.dilation[1])
        taps = [(dy, dx, r * g.S + s) for dy, r in rows for dx, s in columns]
        if taps:
            lattice = Lattice(size, (1, 1), first, g.stride)
            products.append(
                _convolution(simd, algorithm, g.output_shape, g.input_shape, g.groups, lattice, taps, weight)
            )
        else:
            complete = False
    return tuple(products), complete


def _adjoint_taps(shifted: int, kernel: int, stride: int, dilation: int) -> list[tuple[int, int]]:
    """(offset into grad, tap) along one axis, for the pixels at ``shifted`` - padding modulo the stride."""
    reached = [(shifted - tap * dilation, tap) for tap in range(kernel)]
    return [(distance // stride, tap) for distance, tap in reached if distance % stride == 0]


@lru_cache(maxsize=512)
def weight_adjoint(simd: Simd, g: ConvGeometry, algorithm: str | None = None) -> WeightProduct | DirectWeight:
    """The plan of the adjoint for the weight."""
    taps = _forward_taps(g)
    phases, _, reach = _phases(g.stride, taps)
    rows, depth = g.K // g.groups, g.C // g.groups
    cut = direct_weight_tiling(simd, g.N, g.groups, rows, depth, (g.P, g.Q), reach, len(phases), len(taps))
    product = weight_tiling(simd, g.groups, rows, depth * len(taps), g.N * g.P * g.Q)
    if cut is None or algorithm == "gemm" or (algorithm is None and product.cycles <= cut.cycles):
        return WeightProduct(simd, g)
    return DirectWeight(simd, cut, g)
