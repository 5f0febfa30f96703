"""Which tile, and how the loops of a matrix product are cut, from its sizes: the arithmetic behind the blocking."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.microkernel import most_rows, tile_vectors
from fastconv.backends.numba_cpu.simd import Simd

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
def tiling(simd: Simd, groups: int, rows: int, columns: int, depth: int, row: int, taps: int) -> Tiling:
    """The cut with the least waste for ``groups`` products of rows x depth by depth x columns.

    ``row`` is how many columns lie side by side in the image; so many ``taps`` of each channel make up the depth.
    """
    tile_rows, vectors = _tile(simd, rows, columns)
    width = vectors * simd.lanes
    panels, tiles = -(-rows // tile_rows), -(-columns // width)
    steps = -(-depth // -(-depth // STEPS))
    fit = max(1, BLOCK_BYTES // (steps * width * simd.itemsize))
    enough = max(1, -(-groups * tiles // TASKS))
    block_tiles = min(fit, enough)
    blocks = -(-tiles // block_tiles)
    block_panels = -(-panels // min(panels, -(-TASKS // (groups * blocks))))
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
def weight_tiling(simd: Simd, groups: int, rows: int, columns: int, pixels: int, row: int, taps: int) -> Tiling:
    """The cut of the weight's gradient: ``groups`` products of rows x pixels by pixels x columns.

    ``row`` is how many pixels lie side by side in the image; so many ``taps`` of each channel make up the columns.
    """
    tile_rows, vectors = _tile(simd, rows, columns)
    width = vectors * simd.lanes
    panels, tiles = -(-rows // tile_rows), -(-columns // width)
    steps = min(PIXELS, -(-pixels // simd.lanes) * simd.lanes)
    fit = max(1, BLOCK_BYTES // (steps * width * simd.itemsize))
    most_panels = max(1, BLOCK_BYTES // (steps * tile_rows * simd.itemsize))
    blocks = -(-tiles // min(fit, max(1, -(-groups * tiles // TASKS), -(-NARROWEST // width))))
    block_tiles = -(-tiles // blocks)
    panel_blocks = -(-panels // most_panels)
    # Parts of the pixels cost an addition at the end; more blocks of panels would gather every column again for each.
    part_bytes = groups * rows * columns * simd.itemsize
    most_splits = max(1, min(-(-pixels // (4 * steps)), PARTS_BYTES // part_bytes))
    wanted = min(most_splits, -(-TASKS // (groups * blocks * panel_blocks)))
    while groups * blocks * panel_blocks * wanted < TASKS // 2 and panel_blocks < panels // 4:
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


@dataclass(frozen=True)
class DirectTiling:
    """A direct convolution, cut up."""

    tile_rows: int
    tile_vectors: int
    panels: int
    plane_w: int
    block_rows: int
    blocks: int
    block_panels: int
    panel_blocks: int
    channel: int
    """Elements of the planes of a source channel."""
    pieces: int
    """Rows of the target that a vector may touch."""
    cycles: float
    """Predicted, of all blocks together, on a processor that does a vector of multiply-adds a cycle."""
    used: float
    splits: int = 1
    split_steps: int = 0
    """Blocks, of all images, in each part."""

    @property
    def fields(self) -> dict[int, int]:
        """What a frame says of it."""
        return {
            F.TILE_ROWS: self.tile_rows,
            F.TILE_VECTORS: self.tile_vectors,
            F.BLOCKS: self.blocks,
            F.BLOCK_PANELS: self.block_panels,
            F.PANEL_BLOCKS: self.panel_blocks,
            F.SPLITS: self.splits,
            F.SPLIT_STEPS: self.split_steps,
            F.PLANE_W: self.plane_w,
            F.CHANNEL: self.channel,
            F.BLOCK_ROWS: self.block_rows,
            F.PIECES: self.pieces,
        }

    def __str__(self) -> str:
        tile = f"tiles of {self.tile_rows} x {self.tile_vectors} vectors, {self.used:.0%} of them wanted"
        return f"{tile}; {self.blocks} blocks of {self.block_rows} rows, {self.plane_w} wide"


PLANE_BYTES = 384 << 10
"""Of the planes that a task copies, in the L2 cache."""

TILE_CYCLES = 40
"""What a tile costs before its first multiply-add."""

WRITE_CYCLES = 4
"""Of a vector of the result, masks and all."""

PIECE_CYCLES = 3
"""Of a vector of the result in a row of its own, written from the registers; more where it may be in several."""

COPY_CYCLES, ROW_CYCLES = 6, 10
"""Of a vector that is copied into a plane, and of a row to begin with."""


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
    """The cut with the fewest cycles of a direct convolution from ``channels`` to ``rows`` channels in each group.

    ``reach`` is by how many rows and columns planes exceed the lattice. None where a single row needs too much memory.
    """
    I, J = lattice
    narrowest = J + reach[1]
    # Of whole vectors, so that each lies in one row; or as narrow as can be, but so that it touches three at most.
    widths = -(-narrowest // simd.lanes) * simd.lanes, max(narrowest, simd.lanes // 2)
    tile_shapes = shapes(simd)
    best = None
    for wanted in {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, I} | {-(-TASKS // (images * groups))}:
        if wanted > I:
            continue
        block_rows = -(-I // wanted)
        blocks = -(-I // block_rows)
        for plane_w in widths:
            channel = phases * (block_rows + reach[0]) * plane_w
            if channels * channel * simd.itemsize > (PLANE_BYTES if block_rows > 1 else 4 * PLANE_BYTES):
                continue
            points = (block_rows - 1) * plane_w + J
            line = ROW_CYCLES + COPY_CYCLES * -(-plane_w // simd.lanes)
            copy = channels * phases * (block_rows + reach[0]) * line
            pieces = _pieces(simd, plane_w)
            # Vectors that end one row and begin another.
            both = max(0, simd.lanes - 1 - (plane_w - J)) / plane_w
            write = PIECE_CYCLES + (PIECE_CYCLES + 5 * both if pieces > 1 else 0)
            for tile_rows, vectors in tile_shapes:
                panels = -(-rows // tile_rows)
                tiles = -(-points // (vectors * simd.lanes))
                loads = 1 + 0.1 * (tile_rows + vectors) / (tile_rows * vectors)
                step = max(tile_rows * vectors * loads, 8)
                tile = TILE_CYCLES + 5 * tile_rows + write * tile_rows * vectors + channels * taps * step
                if rows % tile_rows:
                    tile += WRITE_CYCLES * rows * vectors * simd.lanes / panels
                here = images * groups * blocks * (copy + panels * tiles * tile)
                if images * groups * blocks < TASKS // 4 and here > SMALL_CYCLES:
                    here *= 1.1
                if best is None or here < best[0]:
                    best = (here, block_rows, blocks, plane_w, channel, tile_rows, vectors, panels, tiles)
    if best is None:
        return None
    cycles, block_rows, blocks, plane_w, channel, tile_rows, vectors, panels, tiles = best
    wanted_tasks = TASKS if cycles > SMALL_CYCLES else 1
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
        rows * I * J / (panels * tile_rows * blocks * tiles * vectors * simd.lanes),
    )


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
    """The cut of the direct adjoint for the weight; arguments as in `direct_tiling`, tiles of rows x taps."""
    I, J = lattice
    plane_w = J + reach[1]
    columns = channels * taps
    accumulators = simd.instructions.registers - 4
    shapes = [(m, t) for m in range(1, 9) for t in range(1, 9) if m * t + t <= accumulators]
    best = None
    for wanted in (I, *(-(-I // parts) for parts in (2, 3, 4, 6, 8, 12, 16, 24, 32)), 1):
        channel = phases * (wanted + reach[0]) * plane_w
        plane = -(-wanted * plane_w // simd.lanes) * simd.lanes
        numbers = channels * channel + rows * plane
        if numbers * simd.itemsize > (2 * PLANE_BYTES if wanted > 1 else 8 * PLANE_BYTES):
            continue
        blocks = -(-I // wanted)
        steps = plane // simd.lanes
        copied = channels * phases * (wanted + reach[0]) + rows * wanted
        copy = copied * (ROW_CYCLES + COPY_CYCLES * -(-plane_w // simd.lanes))
        for m, t in shapes:
            step = max(m * t, m + 2 * t, 8)
            tiles = -(-rows // m) * -(-columns // t)
            here = images * groups * blocks * (copy + tiles * (steps * step + TILE_CYCLES + WRITE_CYCLES * m * t))
            if best is None or here < best[0]:
                best = (here, wanted, blocks, channel, m, t, tiles, steps)
    if best is None:
        return None
    cycles, block_rows, blocks, channel, m, t, tiles, steps = best
    units, panels = images * blocks, -(-rows // m)
    splits = max(1, min(units, -(-TASKS // groups), PARTS_BYTES // (groups * rows * columns * simd.itemsize)))
    split_steps = -(-units // splits)
    splits = -(-units // split_steps)
    block_panels = -(-panels // min(panels, -(-TASKS // (4 * groups * splits))))
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
        rows * columns * I * J / (tiles * m * t * blocks * steps * simd.lanes),
        splits,
        split_steps,
    )


def _pieces(simd: Simd, plane_w: int) -> int:
    """Rows of a plane that a vector may touch."""
    if plane_w % simd.lanes == 0:
        return 1
    return 2 if plane_w >= simd.lanes else 3


def shapes(simd: Simd) -> list[tuple[int, int]]:
    """MR and vectors of every tile whose sums fit in the registers."""
    return [
        (tile_rows, vectors)
        for tile_rows in range(1, most_rows(simd.instructions) + 1)
        for vectors in range(1, tile_vectors(tile_rows, simd.instructions) + 1)
    ]


def gather_cycles(simd: Simd, row: int, channels: float) -> float:
    """Of a vector that is gathered from an image with so many lattice points in a row, for so many channels at a time.

    Up to four runs a vector are fetched in code of their own, 10 to 18 cycles; more go through a loop. Where each run
    is, and which lanes it fills, is worked out once for all the channels.
    """
    runs = 1 + (simd.lanes - 1) / row
    return (6 + 3 * runs if runs <= 4 else 9 * runs) + 20 * runs / max(1.0, channels)


def _tile(simd: Simd, rows: int, columns: int) -> tuple[int, int]:
    """MR and vectors: the least padded numbers, weighted by what tiles of that shape cost."""

    def cost(shape: tuple[int, int]) -> float:
        tile_rows, vectors = shape
        width = vectors * simd.lanes
        padded = -(-rows // tile_rows) * tile_rows * -(-columns // width) * width
        # Loads for each multiply-add, and too few accumulators to fill the pipeline.
        loads = (tile_rows + vectors) / (tile_rows * vectors)
        return padded * (1 + 0.1 * loads) * max(1.0, 8 / (tile_rows * vectors))

    return min(shapes(simd), key=cost)
