"""This file chooses the tilings of Winograd's convolution and its weight gradient, by predicted cost.

See gemm/tiling.py for the terms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

from fastconv.backends.numba_cpu.conv.winograd.arguments import FormSimd
from fastconv.backends.numba_cpu.conv.winograd.few_patches import patch_numbers
from fastconv.backends.numba_cpu.gemm.tile_search import Ranked, cheapest, ranked, shapes
from fastconv.backends.numba_cpu.gemm.tiling import Tiling
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.cost_model import FormCosts
from fastconv.backends.numba_cpu.tuning.splitting import ceil, parts_of, tasks_for

COST = CPU.winograd

_FEWEST = 32
"""Channels of a block of a weight gradient, below which it isn't cut to have more tasks."""


def costs(simd: FormSimd) -> FormCosts:
    """Return the costs of a form."""
    return COST.forms[simd.form.name]


def read_cycles(simd: FormSimd, across: int) -> float:
    """Return the cycles to transform a vector of patches, with ``across`` of them in a row of an image.

    A vector begins inside a row; it has a span there, and one for each row that begins in it.
    """
    own = costs(simd)
    return own.read + own.span * (1 + (simd.lanes - 1) / across)


@dataclass(frozen=True)
class WinogradTiling(Tiling):
    """This tiling also says what is transformed first."""

    patches_first: bool = False
    """Whether patches are transformed first, as in few_patches.py, not the weight."""

    def __str__(self) -> str:
        """Return a description for the planner's explanation."""
        return super().__str__() + (", patches transformed first" if self.patches_first else "")


@dataclass(frozen=True)
class _Sizes:
    """These are the sizes of a convolution that tilings depend on."""

    simd: FormSimd
    images: int
    groups: int
    rows: int
    channels: int
    lattice: tuple[int, int]
    pieces: int
    kept: bool
    """Whether transformed weights are kept for later runs."""
    packed: bool
    """Whether weights are packed before, and kept so, if patches are transformed first."""

    @cached_property
    def across(self) -> int:
        """Return the patches in a row of an image."""
        return ceil(self.lattice[1], self.simd.right)

    @cached_property
    def patches(self) -> int:
        """Return the patches of all images."""
        return self.images * ceil(self.lattice[0], self.simd.down) * self.across

    @cached_property
    def steps(self) -> int:
        """Return the channels of a pass."""
        return ceil(self.channels, ceil(self.channels, costs(self.simd).steps))

    @cached_property
    def passes(self) -> int:
        """Return the passes over the channels, for all pieces of the kernel."""
        return self.pieces * ceil(self.channels, self.steps)

    @cached_property
    def read(self) -> float:
        """Return the cycles to transform a vector of patches."""
        return read_cycles(self.simd, self.across)

    def blocked(self, tile: tuple[int, int], patches_first: bool) -> tuple[int, int, int, int]:
        """Return the tiles of patches in a task, the blocks of them, the panels in a task, and the blocks of them."""
        tile_rows, width = tile[0], tile[1] * self.simd.lanes
        panels, tiles = ceil(self.rows, tile_rows), ceil(self.patches, width)
        panel_bytes = self.simd.products * tile_rows * self.simd.itemsize
        most = max(1, costs(self.simd).sums_bytes // (panel_bytes * width))
        if not patches_first:
            block_panels = min(panels, most, ceil(panels, tasks_for(self.groups * tiles)))
            return 1, tiles, block_panels, ceil(panels, block_panels)
        block_panels = min(panels, most, ceil(panels, tasks_for(self.groups)))
        panel_blocks = ceil(panels, block_panels)
        # Each block of tiles transforms the kernels again, so half the number of tasks has to do.
        wanted = ceil(tasks_for(self.groups * panel_blocks), 2)
        block_tiles = max(1, min(most // block_panels, ceil(tiles, wanted)))
        return block_tiles, ceil(tiles, block_tiles), block_panels, panel_blocks

    def patch_bytes(self, width: int) -> int:
        """Return the bytes of all patches, transformed."""
        channels = self.channels * self.pieces
        numbers = patch_numbers(self.simd, ceil(self.patches, width), width, channels, self.passes)
        return self.groups * numbers * self.simd.itemsize

    def cost(self, tile: Ranked, patches_first: bool) -> float:
        """Return the cycles of a tile."""
        (tile_rows, vectors), (multiply, stream, kernels) = tile.shape, tile.known
        own, width = costs(self.simd), vectors * self.simd.lanes
        _, blocks, _, panel_blocks = self.blocked((tile_rows, vectors), patches_first)
        tiles = ceil(self.patches, width)
        reads = self.read * self.channels * self.pieces * (1 if patches_first else panel_blocks)
        work = tiles * (multiply + vectors * (reads + own.transform * self.rows))
        if not patches_first:
            return self.groups * (work + tiles * stream + (0 if self.kept else kernels + stream))
        moved = self.patch_bytes(width)
        if moved > COST.patch_bytes:
            return math.inf
        # Half of what tasks read arrives while they multiply.
        kernels *= 1 - self.packed * COST.pack * self.simd.taps / own.kernel
        return self.groups * (work + blocks * kernels) + (1 + panel_blocks / 2) * moved / COST.stream


@lru_cache(maxsize=1024)
def winograd_tiling(
    simd: FormSimd,
    images: int,
    groups: int,
    rows: int,
    channels: int,
    lattice: tuple[int, int],
    pieces: int,
    *,
    kept: bool = False,
    packed: bool = False,
) -> WinogradTiling:
    """Return the tiling with the fewest cycles for a convolution from ``channels`` to ``rows`` channels in each group.

    The kernel has ``pieces`` pieces of the form's taps. Transforming weights that are ``kept`` for later runs is free,
    and packing those that are ``packed`` before.
    """
    sizes = _Sizes(simd, images, groups, rows, channels, lattice, pieces, kept, packed)
    tiles = _tiles_of(simd, rows, channels * pieces, sizes.passes)
    scale = groups * sizes.patches
    found = cheapest(tiles, lambda tile: sizes.cost(tile, False), scale=scale)
    assert found is not None
    first = cheapest(tiles, lambda tile: sizes.cost(tile, True), scale=scale, below=found[0])
    cycles, (_, _, shape, _) = first or found
    tile_rows, vectors = shape
    width, panels = vectors * simd.lanes, ceil(rows, tile_rows)
    block_tiles, blocks, block_panels, panel_blocks = sizes.blocked((tile_rows, vectors), first is not None)
    results = simd.down * simd.right * panels * tile_rows * ceil(sizes.patches, width) * width
    used = rows * images * lattice[0] * lattice[1] / results
    counts = panels, sizes.steps, block_tiles, blocks, block_panels, panel_blocks
    return WinogradTiling(tile_rows, vectors, width, *counts, used, cycles, patches_first=first is not None)


@lru_cache(maxsize=1024)
def _tiles_of(simd: FormSimd, rows: int, channels: int, passes: int) -> tuple[Ranked, ...]:
    """Return the tiles, ranked by the least cycles of a patch.

    A tile's ``known`` are: the cycles of a tile's products; the cycles to read weights that the L2 cache doesn't hold,
    for each tile; and the cycles to transform all kernels.
    """
    found, own = [], costs(simd)
    for place, (tile_rows, vectors) in enumerate(shapes(simd)):
        width = vectors * simd.lanes
        panels = -(-rows // tile_rows)
        step = CPU.issue.step(tile_rows, vectors)
        tile = simd.products * (channels * step + passes * (CPU.gemm.tile + CPU.gemm.write * tile_rows * vectors))
        weight = simd.products * panels * tile_rows * channels * simd.itemsize
        stream = weight / COST.stream if weight > COST.kernels_bytes else 0
        kernels = own.kernel * panels * -(-tile_rows // simd.lanes) * channels
        bound = panels * tile / width + (own.read * channels + own.transform * rows) / simd.lanes
        found.append(Ranked(bound, place, (tile_rows, vectors), (panels * tile, stream, kernels)))
    return ranked(found)


@lru_cache(maxsize=1024)
def winograd_weight_tiling(
    simd: FormSimd, images: int, groups: int, rows: int, channels: int, lattice: tuple[int, int], pieces: int, taps: int
) -> Tiling:
    """Return the tiling with the fewest cycles for the weight gradient of a convolution by patches.

    The kernel has ``taps`` taps, in ``pieces`` pieces of the form's taps.
    """
    own, across = costs(simd), -(-lattice[1] // simd.right)
    patches = images * -(-lattice[0] // simd.down) * across
    steps = min(own.patches, -(-patches // simd.lanes) * simd.lanes)
    passes = -(-patches // steps)
    chunks = -(-patches // simd.lanes)
    turned = simd.products * CPU.gemm.transpose * patches / simd.lanes
    part_bytes = groups * rows * channels * taps * simd.itemsize
    # A part of one pass writes and transforms all sums for only KC patches: a third more for 128 channels at 28 x 28.
    most_splits = max(1, min(max(ceil(passes, 2), min(passes, 2)), CPU.gemm.parts_bytes // part_bytes))
    most = own.channels
    while simd.products * most**2 * simd.itemsize > COST.grad_bytes:
        most //= 2
    while most > _FEWEST and groups * pieces * ceil(rows, most) * ceil(channels, most) * most_splits < own.tasks // 4:
        most //= 2

    def cost(tile: Ranked) -> float:
        tiles, multiply, end, panel_blocks, blocks, share = tile.known
        work = simd.products * (patches * multiply + passes * end)
        reads = (chunks * read_cycles(simd, across) + turned) * channels * panel_blocks
        spreads = (chunks * own.spread + turned * share) * rows * blocks
        parts = min(most_splits, -(-own.tasks // (groups * pieces * panel_blocks * blocks)))
        return groups * pieces * (tiles * work + reads + spreads + own.gather * rows * channels * parts)

    found = cheapest(_weight_tiles_of(simd, rows, channels, most), cost, scale=groups * pieces * patches)
    assert found is not None
    cycles, (tile_rows, vectors) = found[0], found[1].shape
    width = vectors * simd.lanes
    panels, tiles = -(-rows // tile_rows), -(-channels // width)
    panel_blocks, blocks = _sum_blocks(panels, tiles, (tile_rows, width), most)
    block_panels, block_tiles = -(-panels // panel_blocks), -(-tiles // blocks)
    panel_blocks, blocks = -(-panels // block_panels), -(-tiles // block_tiles)
    wanted = min(most_splits, ceil(own.tasks, groups * pieces * panel_blocks * blocks))
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


def _sum_blocks(panels: int, tiles: int, tile: tuple[int, int], most: int) -> tuple[int, int]:
    """Return the numbers of blocks that a weight gradient's sums are cut into, by target channels and by channels.

    A block has at most ``most`` of each, or one tile.
    """
    return ceil(panels, max(1, most // tile[0])), ceil(tiles, max(1, most // tile[1]))


@lru_cache(maxsize=1024)
def _weight_tiles_of(simd: FormSimd, rows: int, channels: int, most: int) -> tuple[Ranked, ...]:
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
        blocks = _sum_blocks(panels, tiles, (tile_rows, width), most)
        known = panels * tiles, step, end, *blocks, max(1, simd.lanes / tile_rows)
        found.append(Ranked(simd.products * panels * tiles * step, place, (tile_rows, vectors), known))
    return ranked(found)
