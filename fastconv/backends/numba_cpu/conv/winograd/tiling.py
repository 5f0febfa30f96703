"""This file chooses the tilings of Winograd's convolution and its weight gradient, by predicted cost.

See gemm/tiling.py for the terms.
"""

from __future__ import annotations

from functools import lru_cache

from fastconv.backends.numba_cpu.conv.winograd.arguments import FormSimd
from fastconv.backends.numba_cpu.gemm.tile_search import Ranked, cheapest, ranked, shapes
from fastconv.backends.numba_cpu.gemm.tiling import Tiling
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.cost_model import FormCosts
from fastconv.backends.numba_cpu.tuning.splitting import parts_of, tasks_for

COST = CPU.winograd


def costs(simd: FormSimd) -> FormCosts:
    """Return the costs of a form."""
    return COST.two if simd.side == 2 else COST.four


@lru_cache(maxsize=1024)
def winograd_tiling(
    simd: FormSimd, images: int, groups: int, rows: int, channels: int, lattice: tuple[int, int], pieces: int
) -> Tiling:
    """Return the tiling with the fewest cycles for a convolution from ``channels`` to ``rows`` channels in each group.

    The kernel has ``pieces`` pieces of 3 x 3.
    """
    own, across = costs(simd), -(-lattice[1] // simd.side)
    patches = images * -(-lattice[0] // simd.side) * across
    steps = -(-channels // -(-channels // own.steps))
    passes = pieces * -(-channels // steps)
    channels *= pieces

    def blocked(tile_rows: int, width: int, panels: int) -> tuple[int, int, int]:
        """Return the blocks of patches, the panels in a task, and the blocks of panels."""
        blocks = -(-patches // width)
        most = max(1, COST.sums_bytes // (simd.products * tile_rows * width * simd.itemsize))
        block_panels = min(panels, most, -(-panels // tasks_for(groups * blocks)))
        return blocks, block_panels, -(-panels // block_panels)

    def cost(tile: Ranked) -> float:
        (tile_rows, vectors), (panels, multiply, stream, kernels) = tile.shape, tile.known
        width = vectors * simd.lanes
        blocks, _, panel_blocks = blocked(tile_rows, width, int(panels))
        # Chunks of a block: the vectors of its rows, and mostly one more, since the block begins inside a row.
        chunks = width / across * -(-across // simd.lanes) + 1 - 1 / across
        transforms = chunks * (own.read * channels * panel_blocks + own.transform * rows)
        return groups * (blocks * (multiply + transforms + stream) + kernels)

    found = cheapest(_tiles_of(simd, rows, channels, passes), cost, scale=groups * patches)
    assert found is not None
    cycles, (tile_rows, vectors) = found[0], found[1].shape
    width, panels = vectors * simd.lanes, -(-rows // tile_rows)
    blocks, block_panels, panel_blocks = blocked(tile_rows, width, panels)
    results = simd.side**2 * panels * tile_rows * blocks * width
    wanted = rows * images * lattice[0] * lattice[1] / results
    return Tiling(tile_rows, vectors, width, panels, steps, 1, blocks, block_panels, panel_blocks, wanted, cycles)


@lru_cache(maxsize=1024)
def _tiles_of(simd: FormSimd, rows: int, channels: int, passes: int) -> tuple[Ranked, ...]:
    """Return the tiles, ranked by the least cycles of a patch.

    A tile's ``known`` are: the number of panels; the cycles of a block's products; the cycles to read weights that the
    L2 cache doesn't hold, for each block; and the cycles to transform all kernels.
    """
    found, own = [], costs(simd)
    for place, (tile_rows, vectors) in enumerate(shapes(simd)):
        width = vectors * simd.lanes
        panels = -(-rows // tile_rows)
        step = CPU.issue.step(tile_rows, vectors)
        tile = simd.products * (channels * step + passes * (CPU.gemm.tile + CPU.gemm.write * tile_rows * vectors))
        weight = simd.products * panels * tile_rows * channels * simd.itemsize
        stream = weight / COST.stream if weight > COST.sums_bytes else 0
        kernels = own.kernel * panels * -(-tile_rows // simd.lanes) * channels
        bound = (panels * tile + stream) / width + (own.read * channels + own.transform * rows) / simd.lanes
        found.append(Ranked(bound, place, (tile_rows, vectors), (panels, panels * tile, stream, kernels)))
    return ranked(found)


@lru_cache(maxsize=1024)
def winograd_weight_tiling(
    simd: FormSimd, images: int, groups: int, rows: int, channels: int, lattice: tuple[int, int], pieces: int, taps: int
) -> Tiling:
    """Return the tiling with the fewest cycles for the weight gradient of a convolution by patches.

    The kernel has ``taps`` taps, in ``pieces`` pieces of 3 x 3.
    """
    own, across = costs(simd), -(-lattice[1] // simd.side)
    patches = images * -(-lattice[0] // simd.side) * across
    steps = min(COST.patches, -(-patches // simd.lanes) * simd.lanes)
    passes = -(-patches // steps)
    # Chunks of all patches: one for each vector of a row, and one more where a pass ends.
    chunks = patches / across * -(-across // simd.lanes) + passes
    turned = simd.products * CPU.gemm.transpose * patches / simd.lanes

    def cost(tile: Ranked) -> float:
        tiles, multiply, end, panel_blocks, blocks, share = tile.known
        work = simd.products * (patches * multiply + passes * end)
        reads = (chunks * own.read + turned) * channels * panel_blocks
        spreads = (chunks * own.spread + turned * share) * rows * blocks
        return groups * pieces * (tiles * work + reads + spreads + own.gather * rows * channels)

    found = cheapest(_weight_tiles_of(simd, rows, channels), cost, scale=groups * pieces * patches)
    assert found is not None
    cycles, (tile_rows, vectors) = found[0], found[1].shape
    width = vectors * simd.lanes
    panels, tiles = -(-rows // tile_rows), -(-channels // width)
    panel_blocks, blocks = _sum_blocks(simd, panels, tiles, tile_rows, width)
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


def _sum_blocks(simd: FormSimd, panels: int, tiles: int, tile_rows: int, width: int) -> tuple[int, int]:
    """Return the numbers of blocks that a weight gradient's sums are cut into, by target channels and by channels."""
    most = costs(simd).channels
    return -(-panels // max(1, most // tile_rows)), -(-tiles // max(1, most // width))


@lru_cache(maxsize=1024)
def _weight_tiles_of(simd: FormSimd, rows: int, channels: int) -> tuple[Ranked, ...]:
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
        blocks = _sum_blocks(simd, panels, tiles, tile_rows, width)
        known = panels * tiles, step, end, *blocks, max(1, simd.lanes / tile_rows)
        found.append(Ranked(simd.products * panels * tiles * step, place, (tile_rows, vectors), known))
    return ranked(found)
