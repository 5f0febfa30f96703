"""This module chooses the tiling of a matrix product from its sizes: the tile, the blocks and the tasks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fastconv.backends.numba_cpu.gemm.tile_search import Ranked, cheapest, ranked, shapes
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import TASKS, ceil, parts_of

COST = CPU.gemm


@dataclass(frozen=True)
class Tiling:
    """A `Tiling` says how a product of rows x depth by depth x columns is cut; see gemm/arguments.py for its fields."""

    tile_rows: int
    tile_vectors: int
    width: int
    """Columns of a tile, in elements."""
    panels: int
    steps: int
    block_tiles: int
    blocks: int
    block_panels: int
    panel_blocks: int
    used: float
    """Fraction of the tiles' numbers that are part of the result; the others are padding."""
    cycles: float = 0
    """Predicted cycles of all tasks together, on a processor that does one vector of multiply-adds a cycle."""
    pack: float = 0
    """The part of ``cycles`` in which the weight is packed."""
    splits: int = 1
    """Number of parts of the reduction, whose results are added up at the end."""
    split_steps: int = 0
    """Number of steps of the reduction in each part."""

    @property
    def fields(self) -> dict[str, int]:
        """Return the arguments of a job that describe this tiling."""
        return {
            "tile_rows": self.tile_rows,
            "tile_vectors": self.tile_vectors,
            "steps": self.steps,
            "block_tiles": self.block_tiles,
            "blocks": self.blocks,
            "block_panels": self.block_panels,
            "panel_blocks": self.panel_blocks,
            "splits": self.splits,
            "split_steps": self.split_steps,
        }

    def __str__(self) -> str:
        """Return a description for the planner's explanation."""
        tile = f"tiles of {self.tile_rows} x {self.tile_vectors} vectors, {self.used:.0%} of them wanted"
        return f"{tile}; {self.steps} steps at a time"


@lru_cache(maxsize=1024)
def tiling(
    simd: Simd,
    groups: int,
    rows: int,
    columns: int,
    depth: int,
    row: tuple[int, int],
    taps: int,
    *,
    apart: bool = False,
) -> Tiling:
    """Return the tiling with the least waste for ``groups`` products of rows x depth by depth x columns.

    ``row`` is the number of columns that are in a row of the image, and the pixels from one to the next; the depth is
    channels x ``taps``; ``apart`` is True if the target's pixels have a stride.
    """
    tile_rows, vectors = _tile(simd, rows, columns)
    width = vectors * simd.lanes
    panels, tiles = -(-rows // tile_rows), -(-columns // width)
    steps = -(-depth // -(-depth // COST.steps))
    passes = -(-depth // steps)
    fit = max(1, COST.block_bytes // (steps * width * simd.itemsize))
    enough = max(1, groups * tiles // TASKS)
    chunk = steps * min(passes, fit) if apart else steps
    if chunk == steps * passes:
        chunk = depth
    block_tiles = 1 if chunk > steps else min(fit, enough)
    blocks = -(-tiles // block_tiles)
    block_panels = ceil(panels, min(panels, ceil(TASKS, groups * blocks)))
    panel_blocks = -(-panels // block_panels)
    gather = gather_cycles(simd, row[0], steps / taps, row[1]) * groups * panel_blocks * tiles * vectors * depth
    step = CPU.issue.far_step(tile_rows, vectors)
    tile = depth * step + passes * (COST.tile + COST.write * tile_rows * vectors)
    pack = COST.pack * groups * panels * tile_rows * depth
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
        pack + gather + groups * panels * tiles * tile,
        pack,
        split_steps=chunk,
    )


@lru_cache(maxsize=1024)
def weight_tiling(
    simd: Simd, groups: int, rows: int, columns: int, pixels: int, row: tuple[int, int], taps: int, tasks: int = TASKS
) -> Tiling:
    """Return the tiling of a weight gradient: ``groups`` products of rows x pixels by pixels x columns.

    ``row`` is as in `tiling`; the columns are channels x ``taps``; ``tasks`` is the number of tasks to aim for.
    """
    tile_rows, vectors = _tile(simd, rows, columns)
    width = vectors * simd.lanes
    panels, tiles = -(-rows // tile_rows), -(-columns // width)
    steps = min(COST.pixels, -(-pixels // simd.lanes) * simd.lanes)
    fit = max(1, COST.block_bytes // (steps * width * simd.itemsize))
    most_panels = max(1, COST.block_bytes // (steps * tile_rows * simd.itemsize))
    blocks = -(-tiles // min(fit, max(1, -(-groups * tiles // TASKS), -(-COST.narrowest // width))))
    block_tiles = -(-tiles // blocks)
    panel_blocks = -(-panels // most_panels)
    # Parts of the pixels cost an addition at the end; with more blocks of panels, each would gather every column again.
    part_bytes = groups * rows * columns * simd.itemsize
    most_splits = max(1, min(-(-pixels // (4 * steps)), COST.parts_bytes // part_bytes))
    wanted = min(most_splits, ceil(tasks, groups * blocks * panel_blocks))
    while groups * blocks * panel_blocks * wanted < tasks // 2 and panel_blocks < panels // 4:
        panel_blocks *= 2
    block_panels = -(-panels // panel_blocks)
    panel_blocks = -(-panels // block_panels)
    chunks = -(-pixels // steps)
    splits, split_steps = parts_of(pixels, wanted, steps)
    vectors_of_pixels = -(-pixels // simd.lanes)
    gather = gather_cycles(simd, row[0], block_tiles * width / taps, row[1])
    pack = (gather + COST.transpose) * columns * panel_blocks + COST.transpose * rows * blocks
    tile = pixels * tile_rows * vectors + chunks * (COST.tile + COST.write * tile_rows * vectors)
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
        splits=splits,
        split_steps=split_steps,
    )


def gather_cycles(simd: Simd, row: int, channels: float, step: int) -> float:
    """Return the cycles that it takes to gather a vector from an image with rows of ``row`` lattice points.

    Lattice points read pixels ``step`` apart. Up to four runs a vector have specialised code, 10 to 18 cycles, with a
    step of 2 twice that, and with a step of 4 inside a row four times; more go through a loop. With other steps each
    pixel is read alone. The address and the lanes of each run are computed once for all of ``channels`` channels.
    """
    runs = 1 + (simd.lanes - 1) / row
    begin = 20 * runs / max(1.0, channels)
    if step > 2 and (step != 4 or row < simd.lanes):
        return COST.pixel * simd.lanes + begin
    return step * (6 + 3 * runs if runs <= 4 else 9 * runs) + begin


def _tile(simd: Simd, rows: int, columns: int) -> tuple[int, int]:
    """Return MR and vectors: the fewest numbers with padding, weighted by a tile's cost."""

    def cost(tile: Ranked) -> float:
        (_, vectors), (padded_rows, loads, few) = tile.shape, tile.known
        width = vectors * simd.lanes
        return padded_rows * -(-columns // width) * width * loads * few

    found = cheapest(_tiles_of(simd, rows), cost, scale=columns)
    assert found is not None
    tile_rows, vectors = found[1].shape
    return tile_rows, vectors


@lru_cache(maxsize=1024)
def _tiles_of(simd: Simd, rows: int) -> tuple[Ranked, ...]:
    """Return the tiles, ranked by the cost of a column of ``rows``.

    ``known`` of each: the number of rows with padding, and the factors for loads and for too few accumulators.
    """
    found = []
    for place, (tile_rows, vectors) in enumerate(shapes(simd)):
        padded_rows = -(-rows // tile_rows) * tile_rows
        loads = CPU.issue.factor(tile_rows, vectors)
        few = CPU.issue.shortage(tile_rows, vectors)
        found.append(Ranked(padded_rows * loads * few, place, (tile_rows, vectors), (padded_rows, loads, few)))
    return ranked(found)
