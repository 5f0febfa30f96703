"""This module chooses the tilings of direct convolutions and their weight gradients; see also gemm/tiling.py."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from fastconv.backends.numba_cpu.gemm.tile_search import Ranked, cheapest, ranked, shapes
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import TASKS, parts_of, tasks_for

COST = CPU.direct


@dataclass(frozen=True)
class DirectTiling:
    """A `DirectTiling` says how a direct convolution is cut; see arguments.py for its fields."""

    tile_rows: int
    tile_vectors: int
    panels: int
    plane_w: int
    block_rows: int
    blocks: int
    block_panels: int
    panel_blocks: int
    channel: int
    """Size of all planes of a source channel, in elements."""
    pieces: int
    """Largest number of rows of the target that a vector is written to."""
    cycles: float
    """Predicted cycles of all blocks together, on a processor that does one vector of multiply-adds a cycle."""
    used: float
    """Fraction of the computed numbers that are part of the result."""
    splits: int = 1
    split_steps: int = 0
    """Number of blocks in each part, counted through all images."""

    @property
    def fields(self) -> dict[str, int]:
        """Return the arguments of a job that describe this tiling."""
        return {
            "tile_rows": self.tile_rows,
            "tile_vectors": self.tile_vectors,
            "blocks": self.blocks,
            "block_panels": self.block_panels,
            "panel_blocks": self.panel_blocks,
            "splits": self.splits,
            "split_steps": self.split_steps,
            "plane_w": self.plane_w,
            "channel": self.channel,
            "block_rows": self.block_rows,
            "pieces": self.pieces,
        }

    def __str__(self) -> str:
        """Return a description for the planner's explanation."""
        tile = f"tiles of {self.tile_rows} x {self.tile_vectors} vectors, {self.used:.0%} of them wanted"
        return f"{tile}; {self.blocks} blocks of {self.block_rows} rows, {self.plane_w} wide"


@lru_cache(maxsize=1024)
def direct_tiling(
    simd: Simd,
    images: int,
    groups: int,
    rows: int,
    channels: int,
    lattice: tuple[int, int],
    reach: tuple[int, int],
    phases: int,
    taps: int,
) -> DirectTiling | None:
    """Return the cheapest tiling of a direct convolution from ``channels`` to ``rows`` channels in each group.

    Planes have ``reach`` more rows and columns than the lattice. Return None if a single row needs too much memory.
    """
    I, J = lattice
    narrowest = J + reach[1]
    # Whole vectors, so that each lies in one row; or the least width, with which a vector touches at most three rows.
    widths = -(-narrowest // simd.lanes) * simd.lanes, max(narrowest, simd.lanes // 2)
    tiles = _tiles_of(simd, rows, channels * taps)
    best = None
    large = groups * rows * channels * taps * images * I * J > CPU.gemm.small * simd.lanes
    wanted = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, I} | {tasks_for(images * groups)}
    for block_rows in dict.fromkeys(-(-I // parts) for parts in wanted if parts <= I):
        blocks = -(-I // block_rows)
        for plane_w in dict.fromkeys(widths):
            channel = phases * (block_rows + reach[0]) * plane_w
            if channels * channel * simd.itemsize > (
                CPU.gemm.plane_bytes if block_rows > 1 else 4 * CPU.gemm.plane_bytes
            ):
                continue
            points = (block_rows - 1) * plane_w + J
            line = COST.row + COST.copy * -(-plane_w // simd.lanes)
            # Tasks that differ in their target channels each copy the planes.
            again = -(-TASKS // (images * groups * blocks)) if large else 1
            copy = again * channels * phases * (block_rows + reach[0]) * line
            # The share of vectors that end one row and begin another.
            both = max(0, simd.lanes - 1 - (plane_w - J)) / plane_w
            write = COST.piece + (COST.piece + 5 * both if _pieces(simd, plane_w) > 1 else 0)
            below = math.inf if best is None else best[0]
            found = _cheapest_tile(simd, tiles, rows, points, copy, write, images * groups * blocks, below)
            if found is not None:
                best = (*found, block_rows, blocks, plane_w, channel, points)
    if best is None:
        return None
    cycles, tile, block_rows, blocks, plane_w, channel, points = best
    tile_rows, vectors = tile.shape
    panels, tiles_across = -(-rows // tile_rows), -(-points // (vectors * simd.lanes))
    wanted_tasks = TASKS if cycles > CPU.gemm.small else 1
    cycles += pack_cycles(groups * panels * tile_rows * channels * taps)
    block_panels = -(-panels // min(panels, -(-wanted_tasks // (images * groups * blocks))))
    return DirectTiling(
        tile_rows,
        vectors,
        panels,
        plane_w,
        block_rows,
        blocks,
        block_panels,
        -(-panels // block_panels),
        channel,
        _pieces(simd, plane_w),
        cycles,
        rows * I * J / (panels * tile_rows * blocks * tiles_across * vectors * simd.lanes),
    )


def pack_cycles(numbers: int) -> float:
    """Return the cycles to pack a weight of ``numbers`` numbers, those of missing rows included."""
    return CPU.gemm.pack * numbers


@lru_cache(maxsize=1024)
def _tiles_of(simd: Simd, rows: int, products: int) -> tuple[Ranked, ...]:
    """Return the tiles, ranked by the cost of a lattice point of ``rows`` sums of ``products``, without writing it.

    ``known`` of each: the number of panels, and the cycles of its products and of the last panel's missing rows.
    """
    found = []
    for place, (tile_rows, vectors) in enumerate(shapes(simd)):
        panels = -(-rows // tile_rows)
        multiply = products * CPU.issue.step(tile_rows, vectors)
        rest = CPU.gemm.write * rows * vectors * simd.lanes / panels if rows % tile_rows else 0
        bound = panels * (CPU.gemm.tile + 5 * tile_rows + multiply + rest) / (vectors * simd.lanes)
        found.append(Ranked(bound, place, (tile_rows, vectors), (panels, multiply, rest)))
    return ranked(found)


def _cheapest_tile(
    simd: Simd,
    tiles: tuple[Ranked, ...],
    rows: int,
    points: int,
    copy: int,
    write: float,
    parts: int,
    below: float,
) -> tuple[float, Ranked] | None:
    """Return the cycles of ``parts`` blocks of ``points`` points each with the cheapest tile, and that tile.

    Return None if no tile takes fewer cycles than ``below``.
    """
    few = parts < TASKS // 4

    def cost(tile: Ranked) -> float:
        (tile_rows, vectors), (panels, multiply, rest) = tile.shape, tile.known
        cycles = CPU.gemm.tile + 5 * tile_rows + write * tile_rows * vectors + multiply + rest
        cycles = parts * (copy + panels * -(-points // (vectors * simd.lanes)) * cycles)
        return cycles * 1.1 if few and cycles > CPU.gemm.small else cycles

    fixed = parts * (copy + points * write * rows / simd.lanes)
    return cheapest(tiles, cost, scale=parts * points, fixed=fixed, below=below)


@lru_cache(maxsize=1024)
def direct_weight_tiling(
    simd: Simd,
    images: int,
    groups: int,
    rows: int,
    channels: int,
    lattice: tuple[int, int],
    reach: tuple[int, int],
    phases: int,
    taps: int,
) -> DirectTiling | None:
    """Return the cheapest tiling of a direct weight gradient, with tiles of target channels x taps.

    Arguments are as in `direct_tiling`. Return None if a single row needs too much memory.
    """
    I, J = lattice
    plane_w = J + reach[1]
    columns = channels * taps
    tiles = _weight_tiles_of(simd, rows, columns)
    best = None
    for wanted in dict.fromkeys((I, *(-(-I // parts) for parts in (2, 3, 4, 6, 8, 12, 16, 24, 32)), 1)):
        channel = phases * (wanted + reach[0]) * plane_w
        plane = -(-wanted * plane_w // simd.lanes) * simd.lanes
        numbers = channels * channel + rows * plane
        if numbers * simd.itemsize > (2 * CPU.gemm.plane_bytes if wanted > 1 else 8 * CPU.gemm.plane_bytes):
            continue
        blocks = -(-I // wanted)
        steps = plane // simd.lanes
        copied = channels * phases * (wanted + reach[0]) + rows * wanted
        copy = copied * (COST.row + COST.copy * -(-plane_w // simd.lanes))
        found = _cheapest_weight_tile(tiles, steps)
        here = images * groups * blocks * (copy + found[0])
        if best is None or here < best[0]:
            best = (here, found[1].shape, wanted, blocks, channel, steps)
    if best is None:
        return None
    cycles, (m, t), block_rows, blocks, channel, steps = best
    units, panels = images * blocks, -(-rows // m)
    most = CPU.gemm.parts_bytes // (groups * rows * columns * simd.itemsize)
    splits, split_steps = parts_of(units, max(1, min(units, tasks_for(groups), most)))
    block_panels = -(-panels // min(panels, tasks_for(4 * groups * splits)))
    return DirectTiling(
        m,
        t,
        panels,
        plane_w,
        block_rows,
        blocks,
        block_panels,
        -(-panels // block_panels),
        channel,
        0,
        cycles,
        rows * columns * I * J / (panels * -(-columns // t) * m * t * blocks * steps * simd.lanes),
        splits,
        split_steps,
    )


@lru_cache(maxsize=1024)
def _weight_tiles_of(simd: Simd, rows: int, columns: int) -> tuple[Ranked, ...]:
    """Return the tiles of ``rows`` x ``columns`` sums, ranked by the cost of a vector of pixels.

    ``known`` of each: the cycles at the end of a block.
    """
    accumulators = simd.instructions.registers - 4
    found = []
    for place, (m, t) in enumerate((m, t) for m in range(1, 9) for t in range(1, 9) if m * t + t <= accumulators):
        tiles = -(-rows // m) * -(-columns // t)
        ends = tiles * (CPU.gemm.tile + CPU.gemm.write * m * t)
        found.append(Ranked(tiles * max(m * t, m + 2 * t, 8), place, (m, t), (ends,)))
    return ranked(found)


def _cheapest_weight_tile(tiles: tuple[Ranked, ...], steps: int) -> tuple[float, Ranked]:
    """Return the cycles of ``steps`` vectors of pixels with the cheapest tile, and that tile."""

    def cost(tile: Ranked) -> float:
        return steps * tile.bound + tile.known[0]

    found = cheapest(tiles, cost, scale=steps)
    assert found is not None
    return found


def _pieces(simd: Simd, plane_w: int) -> int:
    """Return the largest number of rows of a plane that a vector touches."""
    if plane_w % simd.lanes == 0:
        return 1
    return 2 if plane_w >= simd.lanes else 3
