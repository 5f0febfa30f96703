"""This file chooses the tiling of a convolution with target channels in the lanes, by predicted cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fastconv.backends.numba_cpu.conv.channel_lanes.arguments import ChannelsArguments
from fastconv.backends.numba_cpu.conv.matmul.tiling import COST, tile_cycles, tiles_of
from fastconv.backends.numba_cpu.gemm.tile_search import Ranked, cheapest
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import TASKS, ceil

Run = tuple[int, int, int, int]
"""Taps side by side: dy and dx of the first one, their number, and the number of taps before them."""


@dataclass(frozen=True)
class ChannelsTiling:
    """A `ChannelsTiling` says how a convolution is cut: tiles of pixels in a row x target channels."""

    tile_pixels: int
    tile_vectors: int
    tile_rows: int
    """Target channels of a tile."""
    steps: int
    channels: int
    """Source channels at a time."""
    block_rows: int
    blocks: int
    block_panels: int
    panel_blocks: int
    skip: int
    slots: int
    """Transposed rows of a block."""
    left: int
    wide: int
    """First one and number of the columns of a transposed row: those in the padding that tiles with a pixel have."""
    cycles: float
    used: float
    splits: int = 1

    @property
    def fields(self) -> dict[str, int]:
        """Return the tiling as arguments of a job."""
        return {name: value for name, value in vars(self).items() if name in ChannelsArguments.words}

    def __str__(self) -> str:
        return (
            f"tiles of {self.tile_pixels} pixels x {self.tile_vectors} vectors of channels, {self.used:.0%} of them "
            f"wanted; {self.blocks} blocks of {self.block_rows} rows"
        )


def runs_of(p: Problem) -> list[Run]:
    """Return the runs of taps that lie side by side, in the order of rows and columns."""
    rows, columns = p.grid
    found: list[Run] = []
    for r, dy in enumerate(rows):
        for s, dx in enumerate(columns):
            if s > 0 and dx == columns[s - 1] + 1:
                first, begin, many, row = found.pop()
                found.append((first, begin, many + 1, row))
            else:
                found.append((dy, dx, 1, r * len(columns) + s))
    return found


@lru_cache(maxsize=1024)
def channels_tiling(simd: Simd, p: Problem) -> ChannelsTiling | None:
    """Return the cheapest tiling; None where the rows of a block take too much memory."""
    if p.points == 0 or not p.is_grid:
        return None
    (I, J), (H, W), (down, right) = p.lattice, p.size, p.source_step
    runs, (tap_rows, tap_columns) = runs_of(p), p.grid
    met = sum(_met(I, down, dy, H) for dy in tap_rows) * sum(_met(J, right, dx, W) for dx in tap_columns)
    depth = p.channels * len(p.taps) // len(runs)
    # Rows of tiles for each run, on average.
    rows = p.images * p.groups * met / (J * len(p.taps)) * len(runs)

    def cost(tile: Ranked) -> float:
        vectors = tile.shape[1]
        return rows * tile_cycles(simd, tile.shape, J, p.rows, depth, -(-depth // _steps(simd, vectors)))

    found = cheapest(tiles_of(simd), cost, scale=rows * J * p.rows * depth / simd.lanes)
    if found is None:
        return None
    cycles, (pixels, vectors) = found[0], found[1].shape
    if p.kept:
        # In a network a residual is added in a pass of its own.
        cycles += 2 * CPU.gemm.write * p.images * p.groups * p.rows * p.points / simd.lanes
    else:
        cycles += CPU.gemm.pack * p.groups * p.rows * p.channels * len(p.taps)
    wanted = TASKS if cycles > CPU.gemm.small else 1
    left = max(tap_columns[0], (1 - pixels) * right)
    wide = min((J - 1) * right + tap_columns[-1] + 1, W + (pixels - 1) * right) - left
    cuts = [_blocks(simd, p, vectors, wide, count, wanted) for count in {I, *range(1, min(I, 2 * TASKS) + 1)}]
    best = min((cut for cut in cuts if cut is not None), default=None)
    if best is None:
        return None
    more, block_rows, block_panels, channels, slots = best
    panels = -(-p.rows // (vectors * simd.lanes))
    return ChannelsTiling(
        pixels,
        vectors,
        vectors * simd.lanes,
        _steps(simd, vectors),
        channels,
        block_rows,
        ceil(I, block_rows),
        block_panels,
        ceil(panels, block_panels),
        down if len(tap_rows) == 1 else 1,
        slots,
        left,
        wide,
        cycles + more,
        p.rows / (-(-p.rows // simd.lanes) * simd.lanes),
    )


def _blocks(
    simd: Simd, p: Problem, vectors: int, wide: int, blocks: int, wanted: int
) -> tuple[float, int, int, int, int] | None:
    """Return how an image is cut into about ``blocks`` blocks of rows, with the cycles besides those of products.

    They are (cycles, rows of a block, panels of a task, channels at a time, transposed rows); None if these take too
    much memory.
    """
    (I, J), down, tap_rows = p.lattice, p.source_step[0], p.grid[0]
    others, panels = p.images * p.groups, ceil(p.rows, vectors * simd.lanes)
    block_rows = ceil(I, blocks)
    blocks = ceil(I, block_rows)
    block_panels = ceil(panels, min(panels, ceil(wanted, others * blocks)))
    panel_blocks = ceil(panels, block_panels)
    reach = tap_rows[-1] - tap_rows[0]
    slots = block_rows if reach == 0 else min(p.size[0], (block_rows - 1) * down + reach + 1)
    most = CPU.gemm.block_bytes // simd.itemsize
    channels = p.channels
    if slots * wide * channels > most:
        channels = most // (slots * wide) // simd.lanes * simd.lanes
        if channels < COST.fewest_channels:
            return None
    results = block_rows * J * vectors * simd.lanes
    if results * (1 if channels == p.channels else block_panels) > most:
        return None
    panel_bytes = vectors * simd.lanes * p.channels * len(p.taps) * simd.itemsize
    chunks = len(p.taps) * p.channels / _steps(simd, vectors)
    cycles = float(COST.task * panel_blocks)
    cycles += CPU.gemm.transpose * ceil(p.channels, simd.lanes) * wide * slots * panel_blocks
    cycles += (CPU.gemm.transpose + CPU.gemm.write) * p.rows * ceil(block_rows * J, simd.lanes)
    # Each chunk of the reduction reads and writes the sums: that costs where these don't stay in the L1 cache.
    if results * simd.itemsize > COST.near_bytes:
        cycles += chunks * CPU.gemm.write * p.rows * block_rows * J / simd.lanes
    # Each block of rows reads the weight: that costs where its panels don't stay in the L2 cache.
    if panel_bytes * block_panels > CPU.gemm.block_bytes:
        cycles += panel_bytes * panels / CPU.winograd.stream
    # With few tasks, threads wait at the end.
    idle = max(0, wanted - others * blocks * panel_blocks)
    return others * blocks * cycles * (1 + idle), block_rows, block_panels, channels, slots


def _met(points: int, step: int, tap: int, size: int) -> int:
    """Return the number of lattice points for which a tap meets a pixel."""
    return max(0, min(points, -((tap - size) // step)) - max(0, -(tap // step)))


def _steps(simd: Simd, vectors: int) -> int:
    return min(COST.steps, COST.near_bytes // (vectors * simd.lanes * simd.itemsize))
