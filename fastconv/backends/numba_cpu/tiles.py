"""Which tile, and how the loops of a matrix product are cut, from its sizes: the arithmetic behind the blocking."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tile_search import Ranked, cheapest, ranked, shapes

STEPS = 384
"""Steps of the reduction in one go. A panel of 14 x 384 floats takes 21 KiB of the L1 cache's 32 or 48; going through
the tile's result once in 384 steps costs 1% of the multiply-adds."""

BLOCK_BYTES = 384 << 10
"""Of the gathered block; it shares an L2 cache of 1 MiB or more with the weight's panels that pass through."""

PIXELS = 256
"""Steps of the reduction over pixels in one go."""

NARROWEST = 128
"""Columns of the weight's gradient that a task should have, so that transposing the output's gradient, which every
block of columns does anew, stays below 5% of the work."""

PARTS_BYTES = 4 << 20
"""Of all the parts together into which a reduction over pixels may be split."""

TRANSPOSE_CYCLES = 5
"""Of a vector that is transposed with its neighbours."""

TASKS = 16
"""Tasks worth having: a few for each thread, so that one who comes late takes fewer. It must not depend on the number
of threads."""

SMALL_CYCLES = 40_000
"""Of a problem that a thread does alone, some 10 us: cut into more tasks than need be, it would only copy more."""

PLANE_BYTES = 384 << 10
"""Size limit of the planes that a task copies, in bytes: they stay in the L2 cache."""

TILE_CYCLES = 40
"""What a tile costs before its first multiply-add."""

WRITE_CYCLES = 4
"""Cycles of a vector of the result, masks included."""


@dataclass(frozen=True)
class Tiling:
    """A product of ``rows`` x depth by depth x ``columns``, cut up."""

    tile_rows: int
    tile_vectors: int
    width: int
    """Columns of a tile."""
    panels: int
    steps: int
    block_tiles: int
    blocks: int
    block_panels: int
    panel_blocks: int
    used: float
    """The part of the tiles' numbers that are wanted."""
    cycles: float = 0
    """Predicted, of all tasks together, on a processor that does a vector of multiply-adds a cycle."""
    splits: int = 1
    """Parts of the reduction that are added up at the end."""
    split_steps: int = 0
    """Steps in each."""

    @property
    def fields(self) -> dict[int, int]:
        """What a frame says of it."""
        return {
            F.TILE_ROWS: self.tile_rows,
            F.TILE_VECTORS: self.tile_vectors,
            F.STEPS: self.steps,
            F.BLOCK_TILES: self.block_tiles,
            F.BLOCKS: self.blocks,
            F.BLOCK_PANELS: self.block_panels,
            F.PANEL_BLOCKS: self.panel_blocks,
            F.SPLITS: self.splits,
            F.SPLIT_STEPS: self.split_steps,
        }

    def __str__(self) -> str:
        tile = f"tiles of {self.tile_rows} x {self.tile_vectors} vectors, {self.used:.0%} of them wanted"
        return f"{tile}; {self.steps} steps at a time"


@lru_cache(maxsize=1024)
def tiling(
    simd: Simd,
    groups: int,
    rows: int,
    columns: int,
    depth: int,
    row: int,
    taps: int,
    wanted: int = TASKS,
    height: int | None = None,
) -> Tiling:
    """The cut with the least waste for ``groups`` products of rows x depth by depth x columns.

    ``row`` is how many columns lie side by side in the image; so many ``taps`` of each channel make up the depth. Tiles
    have ``height`` rows if it is given; ``wanted`` is how many tasks are worth having.
    """
    tile_rows, vectors = _tile(simd, rows, columns, height)
    width = vectors * simd.lanes
    panels, tiles = -(-rows // tile_rows), -(-columns // width)
    steps = -(-depth // -(-depth // STEPS))
    fit = max(1, BLOCK_BYTES // (steps * width * simd.itemsize))
    enough = max(1, -(-groups * tiles // wanted))
    block_tiles = min(fit, enough)
    blocks = -(-tiles // block_tiles)
    block_panels = -(-panels // min(panels, -(-wanted // (groups * blocks))))
    panel_blocks = -(-panels // block_panels)
    gather = gather_cycles(simd, row, steps / taps) * groups * panel_blocks * tiles * vectors * depth
    passes = -(-depth // steps)
    tile = depth * tile_rows * vectors + passes * (TILE_CYCLES + WRITE_CYCLES * tile_rows * vectors)
    return Tiling(
        tile_rows,
        vectors,
        width,
        panels,
        steps,
        block_tiles,
        blocks,
        block_panels,
        panel_blocks,
        rows * columns / (panels * tile_rows * tiles * width),
        gather + groups * panels * tiles * tile,
    )


@lru_cache(maxsize=1024)
def weight_tiling(
    simd: Simd, groups: int, rows: int, columns: int, pixels: int, row: int, taps: int, tasks: int = TASKS
) -> Tiling:
    """The cut of the weight's gradient: ``groups`` products of rows x pixels by pixels x columns.

    ``row`` is how many pixels lie side by side in the image; so many ``taps`` of each channel make up the columns;
    so many ``tasks`` are worth having.
    """
    tile_rows, vectors = _tile(simd, rows, columns)
    width = vectors * simd.lanes
    panels, tiles = -(-rows // tile_rows), -(-columns // width)
    steps = min(PIXELS, -(-pixels // simd.lanes) * simd.lanes)
    fit = max(1, BLOCK_BYTES // (steps * width * simd.itemsize))
    most_panels = max(1, BLOCK_BYTES // (steps * tile_rows * simd.itemsize))
    blocks = -(-tiles // min(fit, max(1, -(-groups * tiles // tasks), -(-NARROWEST // width))))
    block_tiles = -(-tiles // blocks)
    panel_blocks = -(-panels // most_panels)
    # Parts of the pixels cost an addition at the end; more blocks of panels would gather every column again for each.
    part_bytes = groups * rows * columns * simd.itemsize
    most_splits = max(1, min(-(-pixels // (4 * steps)), PARTS_BYTES // part_bytes))
    wanted = min(most_splits, -(-tasks // (groups * blocks * panel_blocks)))
    while groups * blocks * panel_blocks * wanted < tasks // 2 and panel_blocks < panels // 4:
        panel_blocks *= 2
    block_panels = -(-panels // panel_blocks)
    panel_blocks = -(-panels // block_panels)
    chunks = -(-pixels // steps)
    split_steps = -(-chunks // wanted) * steps
    vectors_of_pixels = -(-pixels // simd.lanes)
    gather = gather_cycles(simd, row, block_tiles * width / taps)
    pack = (gather + TRANSPOSE_CYCLES) * columns * panel_blocks + TRANSPOSE_CYCLES * rows * blocks
    tile = pixels * tile_rows * vectors + chunks * (TILE_CYCLES + WRITE_CYCLES * tile_rows * vectors)
    cycles = groups * (vectors_of_pixels * pack + panels * tiles * tile)
    return Tiling(
        tile_rows,
        vectors,
        width,
        panels,
        steps,
        block_tiles,
        -(-tiles // block_tiles),
        block_panels,
        panel_blocks,
        rows * columns / (panels * tile_rows * tiles * width),
        cycles,
        splits=-(-pixels // split_steps),
        split_steps=split_steps,
    )


def gather_cycles(simd: Simd, row: int, channels: float) -> float:
    """Of a vector that is gathered from an image with so many lattice points in a row, for so many channels at a time.

    Up to four runs a vector are fetched in code of their own, 10 to 18 cycles; more go through a loop. Where each run
    is, and which lanes it fills, is worked out once for all the channels.
    """
    runs = 1 + (simd.lanes - 1) / row
    return (6 + 3 * runs if runs <= 4 else 9 * runs) + 20 * runs / max(1.0, channels)


def _tile(simd: Simd, rows: int, columns: int, height: int | None = None) -> tuple[int, int]:
    """MR, which may be given as ``height``, and vectors: the least padded numbers, weighted by what such tiles cost."""

    def cost(tile: Ranked) -> float:
        (_, vectors), (padded_rows, loads, few) = tile.shape, tile.known
        width = vectors * simd.lanes
        return padded_rows * -(-columns // width) * width * loads * few

    found = cheapest(_tiles_of(simd, rows, height), cost, scale=columns)
    assert found is not None
    tile_rows, vectors = found[1].shape
    return tile_rows, vectors


@lru_cache(maxsize=1024)
def _tiles_of(simd: Simd, rows: int, height: int | None) -> tuple[Ranked, ...]:
    """The tiles, ranked by what a column of ``rows`` costs.

    Known of each: rows with their padding, and factors for loads and for too few accumulators to fill the pipeline.
    """
    found = []
    for place, (tile_rows, vectors) in enumerate(shapes(simd)):
        if height not in (None, tile_rows):
            continue
        padded_rows = -(-rows // tile_rows) * tile_rows
        loads = 1 + 0.1 * ((tile_rows + vectors) / (tile_rows * vectors))
        few = max(1.0, 8 / (tile_rows * vectors))
        found.append(Ranked(padded_rows * loads * few, place, (tile_rows, vectors), (padded_rows, loads, few)))
    return ranked(found)
