"""How Winograd's convolution and its adjoint for the weight are cut, and what that should cost: see gemm/tiling.py."""

from __future__ import annotations

from functools import lru_cache

from fastconv.backends.numba_cpu.gemm.tile_search import Ranked, cheapest, ranked, shapes
from fastconv.backends.numba_cpu.gemm.tiling import (
    PARTS_BYTES,
    TASKS,
    TILE_CYCLES,
    TRANSPOSE_CYCLES,
    WRITE_CYCLES,
    Tiling,
)
from fastconv.backends.numba_cpu.simd import Simd

WINOGRAD_STEPS = 128
"""Channels in one go: 16 x 128 x 32 transformed floats take 256 KiB of the L2 cache, a sixteenth half of the L1."""

SUMS_BYTES = 512 << 10
"""Of the products' sums that a task keeps, in the L2 cache beside the patches."""

READ_CYCLES, TRANSFORM_CYCLES = 70, 60
"""Of a vector of patches that is transformed, and of a vector of their sums."""

STREAM_BYTES = 10
"""A cycle, of weights that the L2 cache doesn't hold and every block of patches reads anew."""

KERNEL_CYCLES = 80
"""Of a vector of 3 x 3 kernels that is packed and transformed, whole or not."""


@lru_cache(maxsize=1024)
def winograd_tiling(
    simd: Simd, images: int, groups: int, rows: int, channels: int, lattice: tuple[int, int], pieces: int
) -> Tiling:
    """The cut with the fewest cycles of a convolution by patches, from ``channels`` to ``rows`` in each group.

    The kernel is so many ``pieces`` of 3 x 3.
    """
    across = -(-lattice[1] // 2)
    patches = images * -(-lattice[0] // 2) * across
    steps = -(-channels // -(-channels // WINOGRAD_STEPS))
    passes = pieces * -(-channels // steps)
    channels *= pieces

    def blocked(tile_rows: int, width: int, panels: int) -> tuple[int, int, int]:
        """Blocks of patches, panels in a task, and tasks one below the other."""
        blocks = -(-patches // width)
        most = max(1, SUMS_BYTES // (16 * tile_rows * width * simd.itemsize))
        block_panels = min(panels, most, -(-panels // -(-TASKS // (groups * blocks))))
        return blocks, block_panels, -(-panels // block_panels)

    def cost(tile: Ranked) -> float:
        (tile_rows, vectors), (panels, multiply, stream, kernels) = tile.shape, tile.known
        width = vectors * simd.lanes
        blocks, _, panel_blocks = blocked(tile_rows, width, int(panels))
        # Chunks that a block falls into: as many as rows end in it, and as vectors in a row.
        chunks = width / across * -(-across // simd.lanes) + 1 - 1 / across
        transforms = chunks * (READ_CYCLES * channels * panel_blocks + TRANSFORM_CYCLES * rows)
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
    """The tiles, ranked by what a patch costs at least.

    Known of each: how many panels there are; the cycles of a block's products, and of weights that it reads anew from
    beyond the L2 cache; and those of all kernels' transforms.
    """
    found = []
    for place, (tile_rows, vectors) in enumerate(shapes(simd)):
        width = vectors * simd.lanes
        panels = -(-rows // tile_rows)
        loads = 1 + 0.1 * (tile_rows + vectors) / (tile_rows * vectors)
        step = max(tile_rows * vectors * loads, 8)
        tile = 16 * (channels * step + passes * (TILE_CYCLES + WRITE_CYCLES * tile_rows * vectors))
        weight = 16 * panels * tile_rows * channels * simd.itemsize
        stream = weight / STREAM_BYTES if weight > SUMS_BYTES else 0
        kernels = KERNEL_CYCLES * panels * -(-tile_rows // simd.lanes) * channels
        bound = (panels * tile + stream) / width + (READ_CYCLES * channels + TRANSFORM_CYCLES * rows) / simd.lanes
        found.append(Ranked(bound, place, (tile_rows, vectors), (panels, panels * tile, stream, kernels)))
    return ranked(found)


WINOGRAD_PATCHES = 64
"""Patches in one go, in the adjoint for the weight."""

WINOGRAD_CHANNELS = 128
"""Channels, and target channels, whose sums a task keeps: 16 x 128 x 128 floats take 1 MiB, and go through the cache
once in `WINOGRAD_PATCHES` steps."""

SPREAD_CYCLES, GATHER_CYCLES = 45, 20
"""Of a vector of gradients that is transformed, and of a 3 x 3 kernel's sums."""


@lru_cache(maxsize=1024)
def winograd_weight_tiling(
    simd: Simd, images: int, groups: int, rows: int, channels: int, lattice: tuple[int, int], pieces: int, taps: int
) -> Tiling:
    """The cut with the fewest cycles of the adjoint for the weight of a convolution by patches.

    The kernel is so many ``pieces`` of 3 x 3, and ``taps`` in all.
    """
    across = -(-lattice[1] // 2)
    patches = images * -(-lattice[0] // 2) * across
    steps = min(WINOGRAD_PATCHES, -(-patches // simd.lanes) * simd.lanes)
    passes = -(-patches // steps)
    # Chunks that all patches fall into: a row in vectors, and a break at the end of each pass.
    chunks = patches / across * -(-across // simd.lanes) + passes
    turned = 16 * TRANSPOSE_CYCLES * patches / simd.lanes

    def cost(tile: Ranked) -> float:
        tiles, multiply, end, panel_blocks, blocks, share = tile.known
        work = 16 * (patches * multiply + passes * end)
        reads = (chunks * READ_CYCLES + turned) * channels * panel_blocks
        spreads = (chunks * SPREAD_CYCLES + turned * share) * rows * blocks
        return groups * pieces * (tiles * work + reads + spreads + GATHER_CYCLES * rows * channels)

    found = cheapest(_weight_tiles_of(simd, rows, channels), cost, scale=groups * pieces * patches)
    assert found is not None
    cycles, (tile_rows, vectors) = found[0], found[1].shape
    width = vectors * simd.lanes
    panels, tiles = -(-rows // tile_rows), -(-channels // width)
    panel_blocks, blocks = _sum_blocks(panels, tiles, tile_rows, width)
    block_panels, block_tiles = -(-panels // panel_blocks), -(-tiles // blocks)
    panel_blocks, blocks = -(-panels // block_panels), -(-tiles // block_tiles)
    part_bytes = groups * rows * channels * taps * simd.itemsize
    most_splits = max(1, min(passes, PARTS_BYTES // part_bytes))
    split_steps = -(-passes // min(most_splits, -(-TASKS // (groups * pieces * panel_blocks * blocks)))) * steps
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
        splits=-(-patches // split_steps),
        split_steps=split_steps,
    )


def _sum_blocks(panels: int, tiles: int, tile_rows: int, width: int) -> tuple[int, int]:
    """Into how many blocks of sums, one below the other and side by side, the adjoint for the weight falls."""
    return -(-panels // max(1, WINOGRAD_CHANNELS // tile_rows)), -(-tiles // max(1, WINOGRAD_CHANNELS // width))


@lru_cache(maxsize=1024)
def _weight_tiles_of(simd: Simd, rows: int, channels: int) -> tuple[Ranked, ...]:
    """The tiles, ranked by what the products of a patch cost.

    Known of each: how many tiles there are; the cycles of its products for a patch, and of its end; blocks one below
    the other, and side by side; and by how much transposing gradients is dearer for less than a vector of rows.
    """
    found = []
    for place, (tile_rows, vectors) in enumerate(shapes(simd)):
        width = vectors * simd.lanes
        panels, tiles = -(-rows // tile_rows), -(-channels // width)
        loads = 1 + 0.1 * (tile_rows + vectors) / (tile_rows * vectors)
        step = max(tile_rows * vectors * loads, 8)
        end = TILE_CYCLES + 2 * WRITE_CYCLES * tile_rows * vectors
        known = panels * tiles, step, end, *_sum_blocks(panels, tiles, tile_rows, width), max(1, simd.lanes / tile_rows)
        found.append(Ranked(16 * panels * tiles * step, place, (tile_rows, vectors), known))
    return ranked(found)
