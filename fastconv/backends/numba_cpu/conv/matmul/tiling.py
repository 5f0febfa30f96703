"""This file chooses the tiling of a product of matrices in place, by predicted cost: see gemm/tiling.py, kernel.py."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from fastconv.backends.numba_cpu.gemm.tile_search import Ranked, cheapest, ranked, shapes
from fastconv.backends.numba_cpu.gemm.tiling import gather_cycles
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import TASKS, tasks_for

COST = CPU.matmul

LAST_ROWS = 8
"""Target channels whose last pixel is computed together: eight sums, which keep the multiply-add units busy."""


@dataclass(frozen=True)
class MatrixTiling:
    """This is the tiling of a product of matrices."""

    tile_rows: int
    tile_vectors: int
    columns: int
    steps: int
    block_tiles: int
    blocks: int
    block_panels: int
    panel_blocks: int
    cycles: float
    """Predicted cycles of all tasks together, on a processor that does a vector of multiply-adds in each."""
    used: float
    """Fraction of the tiles' numbers that are wanted results."""
    width: int
    """Elements between rows of b."""
    piece: int = 0
    """Number of channels that a task gathers; 0 if b is an image."""
    split_steps: int = 0
    """Steps of the reduction whose tiles are added up before they are written to the target."""
    span: int = 0
    """Number of vectors of pixels that a task gathers."""
    pack: bool = False
    """True if the weight is packed even if it could be read in place."""
    alone: bool = False
    """True if tiles are cut for all columns but the last, which is computed alone if the weight is read by rows."""
    splits: int = 1
    """Number of parts of the reduction."""

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
            "piece": self.piece,
            "span": self.span,
            "split_steps": self.split_steps or self.steps,
        }

    def __str__(self) -> str:
        how = "gathered once" if self.piece else "in place"
        return f"tiles of {self.tile_rows} x {self.tile_vectors} vectors, {self.used:.0%} of them wanted, {how}"


def is_product(p: Problem) -> bool:
    """Return True if each target pixel is computed from the source pixel at its own place alone."""
    return (
        len(p.taps) == 1
        and p.taps[0][:2] == (0, 0)
        and p.source_step == p.target_step == (1, 1)
        and p.size == p.lattice
        and not p.part
        and p.points > 0
    )


@lru_cache(maxsize=1024)
def matrix_tiling(simd: Simd, p: Problem) -> MatrixTiling | None:
    """Return the cheaper tiling of pixels in place, for a 1 x 1 convolution, and of pixels that are gathered.

    Return None if they must be gathered and take too much memory.
    """
    found = []
    if is_product(p):
        pixels = math.prod(p.lattice)
        found.append(_cut_columns(simd, p, p.images * p.groups, pixels, p.channels, pixels))
    if not found or p.images > 1:
        found.append(_gathered(simd, p))
    return min((cut for cut in found if cut is not None), key=lambda cut: cut.cycles, default=None)


def _gathered(simd: Simd, p: Problem) -> MatrixTiling | None:
    """Return the tiling of a convolution whose pixels are gathered once, those of all images side by side."""
    depth = p.channels * len(p.taps)
    vectors = -(-p.points // simd.lanes)
    # An odd number of vectors, so that rows are in all of the cache's sets.
    width = (vectors | 1) * simd.lanes
    if p.groups * depth * width * simd.itemsize > COST.most_bytes:
        return None
    cut = _cut_columns(simd, p, p.groups, p.points, depth, width)
    if cut is None:
        return None
    # In place, every tile of pixels reads all columns again, a line each.
    pack = p.backward and (len(p.taps) > 1 or p.points > COST.in_place)
    # What is found out about a vector's pixels is used for all channels of a task.
    parts = min(vectors, tasks_for(p.groups))
    span, piece = -(-vectors // parts), -(-p.channels // tasks_for(p.groups * parts))
    cycles = cut.cycles + p.groups * depth * vectors * gather_cycles(simd, p.lattice[1], piece, p.source_step[1])
    # The share of tiles that are written by way of the workspace, after as many steps as fit in the L2 cache.
    tile, chunk = cut.tile_vectors * simd.lanes, cut.steps
    scattered = min(1.0, (tile - 1) / math.prod(p.lattice)) if p.images > 1 else 0.0
    if p.target_step != (1, 1) or p.part:
        scattered = 1.0
    # Lines of more columns would evict each other if they are a multiple of 4 KiB apart.
    near = p.backward and not pack and p.rows * simd.itemsize % (COST.line * COST.sets) == 0
    if scattered > COST.scattered and not near:
        chunk *= min(-(-depth // chunk), max(1, CPU.gemm.block_bytes // (chunk * tile * simd.itemsize)))
    cycles += scattered * -(-depth // chunk) * p.groups * p.rows * vectors * 2 * CPU.gemm.write
    cycles += pack * CPU.gemm.pack * p.groups * p.rows * depth
    return replace(cut, cycles=cycles, piece=piece, span=span, split_steps=chunk, pack=pack)


def tile_cycles(simd: Simd, shape: tuple[int, ...], rows: int, columns: int, depth: int, chunks: int) -> float:
    """Return the cycles of all tiles of a product of rows x columns, whose depth is done in chunks."""
    tile_rows, vectors = shape
    whole, rest = divmod(columns, vectors * simd.lanes)
    last = -(-rest // simd.lanes)
    cycles = 0.0
    for height, many in ((tile_rows, rows // tile_rows), (rows % tile_rows, 1)):
        for across, count in ((vectors, whole), (last, 1)):
            if height and across:
                step = CPU.issue.far_step(height, across)
                tile = CPU.gemm.tile + CPU.gemm.write * height * across
                cycles += many * count * (depth * step + chunks * tile)
    return cycles


def _cut_columns(simd: Simd, p: Problem, products: int, columns: int, depth: int, width: int) -> MatrixTiling | None:
    """Return `_cut` of all columns, or of all but the last if that one would be alone in a vector.

    The last column is multiplied by rows of the weight, which a backward problem doesn't have.
    """
    if p.backward or columns % simd.lanes != 1 or depth < simd.lanes:
        return _cut(simd, products, p.rows, columns, depth, width, by_rows=not p.backward)
    cycles = products * p.rows * (COST.dot + COST.product * depth / simd.lanes)
    if columns == 1:
        return _cut_column(p.rows, depth, width, products, cycles)
    cycles += products * depth * COST.column * TASKS
    cut = _cut(simd, products, p.rows, columns - 1, depth, width)
    return None if cut is None else replace(cut, columns=columns, cycles=cut.cycles + cycles, alone=True)


def _cut_column(rows: int, depth: int, width: int, products: int, cycles: float) -> MatrixTiling:
    """Return the tiling of a single column, whose rows are shared by the tasks."""
    panels = -(-rows // LAST_ROWS)
    wanted = TASKS if cycles > CPU.gemm.small else 1
    block_panels = -(-panels // min(panels, max(1, -(-wanted // products))))
    panel_blocks = -(-panels // block_panels)
    return MatrixTiling(
        tile_rows=LAST_ROWS,
        tile_vectors=1,
        columns=1,
        steps=min(depth, COST.steps),
        block_tiles=1,
        blocks=1,
        block_panels=block_panels,
        panel_blocks=panel_blocks,
        cycles=cycles + products * panel_blocks * depth * COST.column,
        used=1.0,
        width=width,
        alone=True,
    )


def _cut(
    simd: Simd,
    products: int,
    rows: int,
    columns: int,
    depth: int,
    width: int,
    *,
    by_rows: bool = True,
) -> MatrixTiling | None:
    """Return the tiling with the fewest cycles; None if b is too large, or its rows would evict each other from L1."""
    if depth * width * simd.itemsize > COST.most_bytes:
        return None

    def cost(tile: Ranked) -> float:
        tile_rows, vectors = tile.shape
        steps = _steps(simd, depth, vectors, width)
        # Rows of a weight are as long as the reduction.
        if steps is None or (by_rows and tile_rows > rows_in_cache(simd, 1, depth)):
            return math.inf
        return tile_cycles(simd, tile.shape, rows, columns, depth, -(-depth // steps))

    found = cheapest(tiles_of(simd), cost, scale=rows * columns * depth / simd.lanes)
    if found is None:
        return None
    cycles, (tile_rows, vectors) = found[0], found[1].shape
    steps = _steps(simd, depth, vectors, width)
    assert steps is not None
    panels, tiles = -(-rows // tile_rows), -(-columns // (vectors * simd.lanes))
    cycles *= products
    wanted = TASKS if cycles > CPU.gemm.small else 1
    blocks = min(tiles, max(1, -(-wanted // products)))
    block_tiles = -(-tiles // blocks)
    blocks = -(-tiles // block_tiles)
    panel_blocks = min(panels, max(1, -(-wanted // (products * blocks))))
    block_panels = -(-panels // panel_blocks)
    return MatrixTiling(
        tile_rows,
        vectors,
        columns,
        steps,
        block_tiles,
        blocks,
        block_panels,
        -(-panels // block_panels),
        cycles,
        rows * columns / (rows * -(-columns // simd.lanes) * simd.lanes),
        width,
    )


@cache
def tiles_of(simd: Simd) -> tuple[Ranked, ...]:
    """Return the tiles, ranked by the cycles of a vector of products."""
    found = []
    for place, (tile_rows, vectors) in enumerate(shapes(simd)):
        size = tile_rows * vectors
        bound = CPU.issue.step(tile_rows, vectors) / size
        found.append(Ranked(bound, place, (tile_rows, vectors)))
    return ranked(found)


def _steps(simd: Simd, depth: int, vectors: int, width: int) -> int | None:
    """Return the steps of the reduction at a time: as many as a tile's columns stay in the L1 cache for.

    Return None where those are so few that sums would be read and written all the time.
    """
    fit = COST.near_bytes // (vectors * simd.lanes * simd.itemsize)
    most = min(COST.steps, fit, rows_in_cache(simd, vectors, width))
    return None if most < min(depth, COST.fewest) else -(-depth // -(-depth // most))


def rows_in_cache(simd: Simd, vectors: int, width: int) -> int:
    """Return how many rows of some vectors, ``width`` elements apart, fit in the L1 cache's sets that they meet."""
    row = width * simd.itemsize
    sets = COST.sets // math.gcd(COST.sets, row // COST.line)
    if row % COST.line or sets == COST.sets:
        return COST.steps  # rows are in all sets
    return sets * COST.ways // -(-vectors * simd.lanes * simd.itemsize // COST.line)
