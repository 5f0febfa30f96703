"""This file chooses the tiling of a convolution with images in the lanes, by predicted cost: see gemm/tiling.py."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from fastconv.backends.numba_cpu.gemm.tile_search import Ranked, cheapest, ranked, shapes
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import TASKS, parts_of, tasks_for

COST = CPU.image_lanes


@dataclass(frozen=True)
class BatchTiling:
    """This is the tiling of a convolution with images in the lanes."""

    tile_rows: int
    tile_vectors: int
    """Lattice points side by side in a tile; columns in a tile of a weight gradient."""
    panels: int
    plane_w: int
    block_rows: int
    blocks: int
    block_panels: int
    panel_blocks: int
    steps: int
    """Channels that are interleaved and multiplied at a time: KC."""
    channel: int
    """Elements of an interleaved channel."""
    cycles: float
    """Predicted cycles of all tasks together, on a processor that does a vector of multiply-adds in each."""
    used: float
    """Fraction of the lanes that hold wanted results."""
    batches: int
    """Number of batches, each of as many images as a vector has lanes."""
    splits: int = 1
    split_steps: int = 0
    """Blocks, counted through all images, in each part of a weight gradient."""

    @property
    def fields(self) -> dict[str, int]:
        """Return the tiling as arguments of a job."""
        return {
            "tile_rows": self.tile_rows,
            "tile_vectors": self.tile_vectors,
            "plane_w": self.plane_w,
            "block_rows": self.block_rows,
            "blocks": self.blocks,
            "block_panels": self.block_panels,
            "panel_blocks": self.panel_blocks,
            "steps": self.steps,
            "channel": self.channel,
            "splits": self.splits,
            "split_steps": self.split_steps,
        }

    def __str__(self) -> str:
        tile = f"tiles of {self.tile_rows} x {self.tile_vectors} vectors, {self.used:.0%} of their lanes wanted"
        return f"{tile}; {self.blocks} blocks of {self.block_rows} rows"


def _squares(simd: Simd, columns: int) -> int:
    """Return the cycles to interleave or separate a row of ``columns`` pixels."""
    return COST.line + -(-columns // simd.lanes) * simd.lanes * COST.vector


def _met(points: int, step: int, shifts: tuple[int, ...], size: int, together: int = 1) -> int:
    """Return the number of pairs of a shift and a group of ``together`` points of which any meets the image."""
    count = 0
    for shift in shifts:
        first, end = max(0, -(shift // step)), min(points, -((shift - size) // step))
        if first < end:
            count += (end - 1) // together - first // together + 1
    return count


def _channel(simd: Simd, rows: int, plane_w: int) -> int:
    """Return the elements of an interleaved channel.

    It has an odd number of vectors: with an even one all channels would share a few cache sets.
    """
    return (rows * plane_w | 1) * simd.lanes


@lru_cache(maxsize=1024)
def batch_tiling(simd: Simd, p: Problem) -> BatchTiling | None:
    """Return the tiling with the fewest cycles, or None if a single row needs too much memory."""
    (I, J), (down, right) = p.lattice, p.source_step
    tap_rows, tap_columns = p.grid
    batches = -(-p.images // simd.lanes)
    taps = len(p.taps)
    steps = -(-p.channels // -(-p.channels // max(1, COST.chain // taps)))
    passes = -(-p.channels // steps)
    met_rows = _met(I, down, tap_rows, p.size[0])
    met = [met_rows * _met(J, right, tap_columns, p.size[1], vectors) for vectors in range(1, 5)]

    def cost(tile: Ranked) -> float:
        (_, vectors), (panels, start, product) = tile.shape, tile.known
        points, meets = I * -(-J // vectors), met[vectors - 1]
        missed = COST.miss * passes * (taps * points - meets)
        return batches * p.groups * (panels * (points * start + meets * product) + missed)

    tiles = _tiles_of(simd, p.rows, p.channels, passes)
    found = cheapest(tiles, cost, scale=batches * p.groups * met[0])
    assert found is not None
    product_cycles, (tile_rows, vectors) = found[0], found[1].shape
    panels, tiles_across = -(-p.rows // tile_rows), -(-J // vectors)
    plane_w = (tiles_across * vectors - 1) * right + tap_columns[-1] - tap_columns[0] + 1
    columns = min(p.size[1], plane_w)
    best = None
    for block_rows in _block_rows(I, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)):
        blocks = -(-I // block_rows)
        read = min(p.size[0], (block_rows - 1) * down + tap_rows[-1] - tap_rows[0] + 1)
        channel = _channel(simd, read, plane_w)
        row_bytes = tile_rows * block_rows * tiles_across * vectors * simd.lanes * simd.itemsize
        slab_bytes = steps * channel * simd.itemsize
        if slab_bytes + row_bytes > (2 * CPU.gemm.plane_bytes if block_rows > 1 else 8 * CPU.gemm.plane_bytes):
            continue
        fit = max(1, (CPU.gemm.plane_bytes if block_rows > 1 else 4 * CPU.gemm.plane_bytes) // row_bytes)
        block_panels = -(-panels // min(panels, max(-(-panels // fit), tasks_for(batches * p.groups * blocks))))
        panel_blocks = -(-panels // block_panels)
        reading = batches * p.groups * blocks * panel_blocks * p.channels * read * _squares(simd, columns)
        writing = batches * p.groups * p.rows * I * _squares(simd, J)
        cycles = product_cycles + reading + writing
        if batches * p.groups * blocks * panel_blocks < TASKS:
            cycles *= 1.15
        if best is None or cycles < best.cycles:
            used = p.images * p.rows * J / (batches * simd.lanes * panels * tile_rows * tiles_across * vectors)
            best = BatchTiling(
                tile_rows,
                vectors,
                panels,
                plane_w,
                block_rows,
                blocks,
                block_panels,
                panel_blocks,
                steps,
                channel,
                cycles,
                used,
                batches,
            )
    return best


def _block_rows(rows: int, parts: tuple[int, ...]) -> list[int]:
    """Return the rows that a block may have: ``rows`` divided by each number of ``parts``, and a single row."""
    return list(dict.fromkeys([-(-rows // count) for count in parts if count < rows] + [1]))


@lru_cache(maxsize=1024)
def _tiles_of(simd: Simd, rows: int, channels: int, passes: int) -> tuple[Ranked, ...]:
    """Return the tiles, ranked by the cycles of a lattice point's products for one tap.

    A tile's ``known`` are: the number of panels; the cycles of a tile besides its products; and the cycles of its
    products for a tap.
    """
    found = []
    for place, (tile_rows, vectors) in enumerate(shapes(simd)):
        panels = -(-rows // tile_rows)
        multiply = channels * CPU.issue.step(tile_rows, vectors) + passes * COST.tap
        start = passes * (CPU.gemm.tile + CPU.gemm.write * tile_rows * vectors)
        found.append(Ranked(panels * multiply / vectors, place, (tile_rows, vectors), (panels, start, multiply)))
    return ranked(found)


class _Block(NamedTuple):
    """This is a block of lattice rows in a weight gradient."""

    rows: int
    blocks: int
    """Number of blocks in an image."""
    read: int
    """Source rows that a block reads."""
    plane_w: int
    channel: int
    met: int
    """Number of pairs of a lattice point and a row of taps that meet the image, in all blocks."""


@lru_cache(maxsize=1024)
def batch_weight_tiling(simd: Simd, p: Problem) -> BatchTiling | None:
    """Return the tiling of the weight gradient, with tiles of target channels x columns; None as for `batch_tiling`."""
    (I, J), (down, right) = p.lattice, p.source_step
    tap_rows, tap_columns = p.grid
    batches = -(-p.images // simd.lanes)
    plane_w = (J - 1) * right + tap_columns[-1] - tap_columns[0] + 1
    in_row = p.channels * len(tap_columns)
    met = _met(I, down, tap_rows, p.size[0]) * J
    best = None
    for block_rows in _block_rows(I, (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32)):
        read = min(p.size[0], (block_rows - 1) * down + tap_rows[-1] - tap_rows[0] + 1)
        block = _Block(block_rows, -(-I // block_rows), read, plane_w, _channel(simd, read, plane_w), met)
        below = math.inf if best is None else best[0] / (batches * p.groups)
        found = _cheapest_weight_tile(simd, p, block, below)
        if found is not None:
            best = (batches * p.groups * found[0], found[1], found[2], block)
    if best is None:
        return None
    cycles, (m, c), block_panels, (block_rows, blocks, _, _, channel, _) = best
    panels = -(-p.rows // m)
    used = p.images * p.rows * in_row / (batches * simd.lanes * panels * m * -(-in_row // c) * c)
    panel_blocks = -(-panels // block_panels)
    units = batches * blocks
    part_bytes = p.groups * p.rows * p.channels * len(p.taps) * simd.itemsize
    most = max(1, min(units, tasks_for(p.groups * panel_blocks), CPU.gemm.parts_bytes // part_bytes))
    splits, split_steps = parts_of(units, most)
    return BatchTiling(
        m,
        c,
        panels,
        plane_w,
        block_rows,
        blocks,
        block_panels,
        panel_blocks,
        p.channels,
        channel,
        cycles,
        used,
        batches,
        splits,
        split_steps,
    )


@lru_cache(maxsize=1024)
def _weight_tiles_of(simd: Simd, rows: int, columns: int, near: bool) -> tuple[Ranked, ...]:
    """Return the tiles of target channels x columns, ranked by the least cycles of a lattice point's products.

    ``near`` is True if operands may come from the L1 cache. A tile's ``known`` are: the number of panels, and the
    number of tiles side by side.
    """
    accumulators = simd.instructions.registers - 2
    far_load = simd.lanes * simd.itemsize / 32
    load = min(0.5, far_load) if near else far_load
    found = []
    for place, (m, c) in enumerate((m, c) for m in range(1, 11) for c in range(1, 11) if m * c + c <= accumulators):
        if c <= columns:
            panels, across = -(-rows // m), -(-columns // c)
            found.append(Ranked(panels * across * max(m * c, load * (m + c), 8), place, (m, c), (panels, across)))
    return ranked(found)


def _cheapest_weight_tile(
    simd: Simd, p: Problem, block: _Block, below: float
) -> tuple[float, tuple[int, ...], int] | None:
    """Return the least cycles of a batch and a group, the tile, and the panels in a task; None if not ``below``."""
    J, tap_rows, tap_columns = p.lattice[1], *map(len, p.grid)
    vector = simd.lanes * simd.itemsize
    most = (2 * CPU.gemm.plane_bytes if block.rows > 1 else 8 * CPU.gemm.plane_bytes) // simd.itemsize
    if p.channels * block.channel + block.rows * J * simd.lanes > most:
        return None
    read_cycles = p.channels * block.blocks * block.read * _squares(simd, min(p.size[1], block.plane_w))
    grad_cycles = p.rows * block.blocks * _squares(simd, block.rows * J)

    def cut(tile: Ranked) -> tuple[float, int]:
        """Return the least cycles, and the panels in a task; infinity if a single panel needs too much memory."""
        (m, c), (panels, across) = tile.shape, tile.known
        # From beyond the L1 cache 32 bytes come in a cycle: half a vector of 512 bits.
        near = (m * block.rows * J + min(c, p.channels) * block.read * block.plane_w) * vector <= COST.near_bytes
        product = max(m * c, (m + c) / 2 if near else (m + c) * vector / 32, 8)
        ends = block.blocks * tap_rows * across * (CPU.gemm.tile + CPU.gemm.write * m * c + 3 * m * c)
        work = panels * (block.met * across * product + ends)
        found = math.inf, 0
        for panel_blocks in {1, -(-panels // max(1, CPU.gemm.plane_bytes // (m * block.rows * J * vector)))}:
            block_panels = -(-panels // panel_blocks)
            if p.channels * block.channel + block_panels * m * block.rows * J * simd.lanes <= most:
                found = min(found, (work + (panel_blocks * read_cycles + grad_cycles), int(block_panels)))
        return found

    some_near = (block.rows * J + block.read * block.plane_w) * vector <= COST.near_bytes
    tiles = _weight_tiles_of(simd, p.rows, p.channels * tap_columns, some_near)
    fixed = read_cycles + grad_cycles
    found = cheapest(tiles, lambda tile: cut(tile)[0], scale=block.met, fixed=fixed, below=below)
    return None if found is None else (found[0], found[1].shape, cut(found[1])[1])
