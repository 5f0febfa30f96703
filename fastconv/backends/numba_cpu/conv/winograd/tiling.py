"""This file chooses the tilings of Winograd's convolution and its weight gradient, by predicted cost.

See gemm/tiling.py for the terms.
"""

from __future__ import annotations

from functools import lru_cache

from fastconv.backends.numba_cpu.gemm.tile_search import Ranked, cheapest, ranked, shapes
from fastconv.backends.numba_cpu.gemm.tiling import Tiling
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import parts_of, tasks_for

COST = CPU.winograd


@lru_cache(maxsize=1024)
def winograd_tiling(
    simd: Simd, images: int, groups: int, rows: int, channels: int, lattice: tuple[int, int], pieces: int
) -> Tiling:
    """Return the tiling with the fewest cycles for a convolution from ``channels`` to ``rows`` channels in each group.

    The kernel has ``pieces`` pieces of 3 x 3.
    """
    across = -(-lattice[1] // 2)
    patches = images * -(-lattice[0] // 2) * across
    steps = -(-channels // -(-channels // COST.steps))
    passes = pieces * -(-channels // steps)
    channels *= pieces

    def blocked(tile_rows: int, width: int, panels: int) -> tuple[int, int, int]:
        """Return the blocks of patches, the panels in a task, and the blocks of panels."""
        blocks = -(-patches // width)
        most = max(1, COST.sums_bytes // (16 * tile_rows * width * simd.itemsize))
        block_panels = min(panels, most, -(-panels // tasks_for(groups * blocks)))
        return blocks, block_panels, -(-panels // block_panels)

    def cost(tile: Ranked) -> float:
        (tile_rows, vectors), (panels, multiply, stream, kernels) = tile.shape, tile.known
        width = vectors * simd.lanes
        blocks, _, panel_blocks = blocked(tile_rows, width, int(panels))
        # Chunks of a block: the vectors of its rows, and mostly one more, since the block begins inside a row.
        chunks = width / across * -(-across // simd.lanes) + 1 - 1 / across
        transforms = chunks * (COST.read * channels * panel_blocks + COST.transform * rows)
        return groups * (blocks * (multiply + transforms + stream) + kernels)

    found = cheapest(_tiles_of(simd, rows, channels, passes), cost, scale=groups * patches)
    assert found is not None
    cycles, (tile_rows, vectors) = found[0], found[1].shape
    width, panels = vectors * simd.lanes, -(-rows // tile_rows)
    blocks, block_panels, panel_blocks = blocked(tile_rows, width, panels)
    wanted = rows * images * lattice[0] * lattice[1] / (4 * panels * tile_rows * blocks * width)
    return Tiling(tile_rows, vectors, width, panels, steps, 1, blocks, block_panels, panel_blocks, wanted, cycles)


@lru_cache(maxsize=1024)
def _tiles_of(simd: Simd, rows: int, channels: int, passes: int) -> tuple[Ranked, ...]:
    """Return the tiles, ranked by the least cycles of a patch.

    A tile's ``known`` are: the number of panels; the cycles of a block's products; the cycles to read weights that the
    L2 cache doesn't hold, for each block; and the cycles to transform all kernels.
    """
    found = []
    for place, (tile_rows, vectors) in enumerate(shapes(simd)):
        width = vectors * simd.lanes
        panels = -(-rows // tile_rows)
        step = CPU.issue.step(tile_rows, vectors)
        tile = 16 * (channels * step + passes * (CPU.gemm.tile + CPU.gemm.write * tile_rows * vectors))
        weight = 16 * panels * tile_rows * channels * simd.itemsize
        stream = weight / COST.stream if weight > COST.sums_bytes else 0
        kernels = COST.kernel * panels * -(-tile_rows // simd.lanes) * channels
        bound = (panels * tile + stream) / width + (COST.read * channels + COST.transform * rows) / simd.lanes
        found.append(Ranked(bound, place, (tile_rows, vectors), (panels, panels * tile, stream, kernels)))
    return ranked(found)


@lru_cache(maxsize=1024)
def winograd_weight_tiling(
    simd: Simd, images: int, groups: int, rows: int, channels: int, lattice: tuple[int, int], pieces: int, taps: int
) -> Tiling:
    """Return the tiling with the fewest cycles for the weight gradient of a convolution by patches.

    The kernel has ``taps`` taps, in ``pieces`` pieces of 3 x 3.
    """
    across = -(-lattice[1] // 2)
    patches = images * -(-lattice[0] // 2) * across
    steps = min(COST.patches, -(-patches // simd.lanes) * simd.lanes)
    passes = -(-patches // steps)
    # Chunks of all patches: one for each vector of a row, and one more where a pass ends.
    chunks = patches / across * -(-across // simd.lanes) + passes
    turned = 16 * CPU.gemm.transpose * patches / simd.lanes

    def cost(tile: Ranked) -> float:
        tiles, multiply, end, panel_blocks, blocks, share = tile.known
        work = 16 * (patches * multiply + passes * end)
        reads = (chunks * COST.read + turned) * channels * panel_blocks
        spreads = (chunks * COST.spread + turned * share) * rows * blocks
        return groups * pieces * (tiles * work + reads + spreads + COST.gather * rows * channels)

    found = cheapest(_weight_tiles_of(simd, rows, channels), cost, scale=groups * pieces * patches)
    assert found is not None
    cycles, (tile_rows, vectors) = found[0], found[1].shape
    width = vectors * simd.lanes
    panels, tiles = -(-rows // tile_rows), -(-channels // width)
    panel_blocks, blocks = _sum_blocks(panels, tiles, tile_rows, width)
    block_panels, block_tiles = -(-panels // panel_blocks), -(-tiles // blocks)
    panel_blocks, blocks = -(-panels // block_panels), -(-tiles // block_tiles)
    part_bytes = groups * rows * channels * taps * simd.itemsize
    most_splits = max(1, min(passes, CPU.gemm.parts_bytes // part_bytes))
    wanted = min(most_splits, tasks_for(groups * pieces * panel_blocks * blocks))
    splits, split_steps = parts_of(patches, wanted, steps)
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
        rows * channels / (panels * tile_rows * tiles * width),
        cycles,
        splits=splits,
        split_steps=split_steps,
    )


def _sum_blocks(panels: int, tiles: int, tile_rows: int, width: int) -> tuple[int, int]:
    """Return the numbers of blocks that a weight gradient's sums are cut into, by target channels and by channels."""
    return -(-panels // max(1, COST.channels // tile_rows)), -(-tiles // max(1, COST.channels // width))


@lru_cache(maxsize=1024)
def _weight_tiles_of(simd: Simd, rows: int, channels: int) -> tuple[Ranked, ...]:
    """Return the tiles, ranked by the cycles of a patch's products.

    A tile's ``known`` are: the number of tiles; the cycles of its products for a patch, and of its end; the blocks by
    target channels, and by channels; and the factor by which transposing gradients costs more if a tile has fewer rows
    than a vector has lanes.
    """
    found = []
    for place, (tile_rows, vectors) in enumerate(shapes(simd)):
        width = vectors * simd.lanes
        panels, tiles = -(-rows // tile_rows), -(-channels // width)
        step = CPU.issue.step(tile_rows, vectors)
        end = CPU.gemm.tile + 2 * CPU.gemm.write * tile_rows * vectors
        known = panels * tiles, step, end, *_sum_blocks(panels, tiles, tile_rows, width), max(1, simd.lanes / tile_rows)
        found.append(Ranked(16 * panels * tiles * step, place, (tile_rows, vectors), known))
    return ranked(found)
