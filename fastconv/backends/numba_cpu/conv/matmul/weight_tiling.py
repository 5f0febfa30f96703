"""This file chooses the tiling of a weight gradient as a product for each tap, by predicted cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from fastconv.backends.numba_cpu.conv.matmul.tiling import COST, is_product, rows_in_cache, tile_cycles, tiles_of
from fastconv.backends.numba_cpu.gemm.tile_search import Ranked, cheapest
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import TASKS, ceil, parts_of
from fastconv.geometry import Pair


@dataclass(frozen=True)
class WeightTiling:
    """A `WeightTiling` says how the products are cut: tiles of target channels x source channels."""

    tile_rows: int
    tile_vectors: int
    columns: int
    """Source channels."""
    steps: int
    """Lattice points at a time, at most."""
    block_tiles: int
    blocks: int
    block_panels: int
    panel_blocks: int
    width: int
    """Elements between transposed pixels."""
    size: Pair
    """Height and width of the source; those of pointwise problems are taken as a column of pixels."""
    lattice: Pair
    step: int
    """Source rows from one lattice row to the next."""
    first_y: int
    reach: int
    block_rows: int
    """Lattice rows for which the source is transposed together."""
    splits: int
    split_steps: int
    """Blocks of rows in a part."""
    cycles: float
    used: float

    @property
    def fields(self) -> dict[str, int]:
        """Return the tiling as arguments of a job."""
        return {
            "tile_rows": self.tile_rows,
            "tile_vectors": self.tile_vectors,
            "points": self.columns,
            "steps": self.steps,
            "block_tiles": self.block_tiles,
            "blocks": self.blocks,
            "block_panels": self.block_panels,
            "panel_blocks": self.panel_blocks,
            "width": self.width,
            "first_y": self.first_y,
            "reach": self.reach,
            "block_rows": self.block_rows,
            "image_blocks": -(-self.lattice[0] // self.block_rows),
            "splits": self.splits,
            "split_steps": self.split_steps,
        }

    def __str__(self) -> str:
        tile = f"tiles of {self.tile_rows} x {self.tile_vectors} vectors, {self.used:.0%} of them wanted"
        return f"{tile}; {self.block_rows} rows transposed at a time"


@lru_cache(maxsize=1024)
def matrix_weight_tiling(simd: Simd, p: Problem) -> WeightTiling | None:
    """Return the cheapest tiling, or None for parts of lattices and where the rows of a block take too much memory."""
    if p.part or p.target_step != (1, 1) or p.points == 0:
        return None
    size, lattice = p.size, p.lattice
    if is_product(p):
        size = lattice = math.prod(lattice), 1
    down, taps = p.source_step[0] if size is p.size else 1, len(p.taps)
    rows = [dy for dy, _, _ in p.taps]
    first_y, reach = min(rows), max(rows) - min(rows)
    points, columns = math.prod(lattice), p.channels

    def cost(tile: Ranked) -> float:
        # The gradient's rows are as long as its plane.
        if tile.shape[0] > rows_in_cache(simd, 1, points):
            return math.inf
        return tile_cycles(simd, tile.shape, p.rows, columns, points, -(-points // _most(simd, tile.shape[1])))

    found = cheapest(tiles_of(simd), cost, scale=p.rows * columns * points / simd.lanes)
    if found is None:
        return None
    images, (tile_rows, vectors) = p.images * p.groups, found[1].shape
    cycles = images * taps * found[0]
    panels, tiles = -(-p.rows // tile_rows), -(-columns // (vectors * simd.lanes))
    # Rows of a block: they fit in the L2 cache, and their points need no more passes over the tile's results.
    most = _most(simd, vectors)
    fitting = CPU.gemm.block_bytes // (simd.itemsize * size[1] * vectors * simd.lanes)
    block_rows = min(-(-most // lattice[1]), (fitting - reach - 1) // down + 1)
    if block_rows < 1:
        return None
    block_rows = -(-lattice[0] // -(-lattice[0] // block_rows))
    steps = -(-block_rows * lattice[1] // -(-block_rows * lattice[1] // most))
    source_rows = (block_rows - 1) * down + reach + 1
    fit = max(1, CPU.gemm.block_bytes // (simd.itemsize * source_rows * size[1] * vectors * simd.lanes))
    units = p.images * -(-lattice[0] // block_rows)
    part_bytes = p.groups * p.rows * columns * taps * simd.itemsize
    most_splits = min(units, max(1, CPU.gemm.parts_bytes // part_bytes))
    wanted = TASKS if cycles > CPU.gemm.small else 1
    block_tiles = -(-tiles // max(-(-tiles // fit), min(tiles, ceil(wanted, p.groups * most_splits))))
    blocks = -(-tiles // block_tiles)
    others = p.groups * blocks
    splits, split_steps = parts_of(units, min(most_splits, ceil(wanted, others)))
    # Each block of target channels transposes the source again.
    most_blocks = max(1, p.rows // COST.fewest_rows)
    panel_blocks = min(panels, most_blocks, ceil(wanted, others * splits))
    block_panels = -(-panels // panel_blocks)
    panel_blocks = -(-panels // block_panels)
    moved = images * -(-lattice[0] // block_rows) * source_rows * size[1]
    cycles += CPU.gemm.transpose * panel_blocks * moved * -(-columns // simd.lanes)
    if taps > 1:
        cycles += part_bytes / simd.itemsize * (COST.order + splits / simd.lanes)
    return WeightTiling(
        tile_rows,
        vectors,
        columns,
        steps,
        block_tiles,
        blocks,
        block_panels,
        panel_blocks,
        # An odd number of vectors, so that rows of the transpose are in all of the cache's sets.
        (block_tiles * vectors | 1) * simd.lanes,
        size,
        lattice,
        down,
        first_y,
        reach,
        block_rows,
        splits,
        split_steps,
        cycles,
        columns / (-(-columns // simd.lanes) * simd.lanes),
    )


def _most(simd: Simd, vectors: int) -> int:
    """Return the most points of a tile of some vectors whose rows stay in the L1 cache for all target channels."""
    return max(simd.lanes, min(CPU.gemm.pixels, COST.near_bytes // (vectors * simd.lanes * simd.itemsize)))
