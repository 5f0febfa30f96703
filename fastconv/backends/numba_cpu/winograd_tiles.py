"""How Winograd's convolution and its adjoint for the weight are cut, and what that should cost: see tiles.py."""

from __future__ import annotations

from functools import lru_cache

from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tiles import (
    PARTS_BYTES,
    TASKS,
    TILE_CYCLES,
    TRANSPOSE_CYCLES,
    WRITE_CYCLES,
    Tiling,
    shapes,
)

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
    best = None
    for tile_rows, vectors in shapes(simd):
        width = vectors * simd.lanes
        panels, blocks = -(-rows // tile_rows), -(-patches // width)
        most = max(1, SUMS_BYTES // (16 * tile_rows * width * simd.itemsize))
        block_panels = min(panels, most, -(-panels // -(-TASKS // (groups * blocks))))
        panel_blocks = -(-panels // block_panels)
        # Chunks that a block falls into: as many as rows end in it, and as vectors in a row.
        chunks = width / across * -(-across // simd.lanes) + 1 - 1 / across
        loads = 1 + 0.1 * (tile_rows + vectors) / (tile_rows * vectors)
        step = max(tile_rows * vectors * loads, 8)
        tile = 16 * (channels * step + passes * (TILE_CYCLES + WRITE_CYCLES * tile_rows * vectors))
        transforms = chunks * (READ_CYCLES * channels * panel_blocks + TRANSFORM_CYCLES * rows)
        weight = 16 * panels * tile_rows * channels * simd.itemsize
        stream = weight / STREAM_BYTES if weight > SUMS_BYTES else 0
        kernels = KERNEL_CYCLES * panels * -(-tile_rows // simd.lanes) * channels
        cycles = groups * (blocks * (panels * tile + transforms + stream) + kernels)
        if best is None or cycles < best[0]:
            best = (cycles, tile_rows, vectors, width, panels, blocks, block_panels, panel_blocks)
    assert best is not None
    cycles, tile_rows, vectors, width, panels, blocks, block_panels, panel_blocks = best
    wanted = rows * images * lattice[0] * lattice[1] / (4 * panels * tile_rows * blocks * width)
    return Tiling(tile_rows, vectors, width, panels, steps, 1, blocks, block_panels, panel_blocks, wanted, cycles)


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
    best = None
    for tile_rows, vectors in shapes(simd):
        width = vectors * simd.lanes
        panels, tiles = -(-rows // tile_rows), -(-channels // width)
        panel_blocks = -(-panels // max(1, WINOGRAD_CHANNELS // tile_rows))
        blocks = -(-tiles // max(1, WINOGRAD_CHANNELS // width))
        loads = 1 + 0.1 * (tile_rows + vectors) / (tile_rows * vectors)
        step = max(tile_rows * vectors * loads, 8)
        tile = 16 * (patches * step + passes * (TILE_CYCLES + 2 * WRITE_CYCLES * tile_rows * vectors))
        reads = (chunks * READ_CYCLES + turned) * channels * panel_blocks
        spreads = (chunks * SPREAD_CYCLES + turned * max(1, simd.lanes / tile_rows)) * rows * blocks
        cycles = groups * pieces * (panels * tiles * tile + reads + spreads + GATHER_CYCLES * rows * channels)
        if best is None or cycles < best[0]:
            best = (cycles, tile_rows, vectors, width, panels, tiles, panel_blocks, blocks)
    assert best is not None
    cycles, tile_rows, vectors, width, panels, tiles, panel_blocks, blocks = best
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
