"""How a convolution with images in the lanes is cut, and what that should cost: see tiles.py."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fastconv.backends.numba_cpu import fields as F
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tiles import PARTS_BYTES, PLANE_BYTES, TASKS, TILE_CYCLES, WRITE_CYCLES, shapes


@dataclass(frozen=True)
class BatchTiling:
    """A convolution with images in the lanes, cut up."""

    tile_rows: int
    tile_vectors: int
    """Lattice points side by side in a tile; of the adjoint for the weight, columns."""
    panels: int
    plane_w: int
    block_rows: int
    blocks: int
    block_panels: int
    panel_blocks: int
    steps: int
    """Channels in one go."""
    channel: int
    """Elements of an interleaved channel."""
    cycles: float
    """Predicted, of all tasks together, on a processor that does a vector of multiply-adds a cycle."""
    used: float
    """The part of the lanes that are wanted."""
    batches: int
    """Of as many images as a vector has lanes."""
    splits: int = 1
    split_steps: int = 0
    """Blocks, of all images, in each part of the adjoint for the weight."""

    @property
    def fields(self) -> dict[int, int]:
        """What a frame says of it."""
        return {
            F.TILE_ROWS: self.tile_rows,
            F.TILE_VECTORS: self.tile_vectors,
            F.PLANE_W: self.plane_w,
            F.BLOCK_ROWS: self.block_rows,
            F.BLOCKS: self.blocks,
            F.BLOCK_PANELS: self.block_panels,
            F.PANEL_BLOCKS: self.panel_blocks,
            F.STEPS: self.steps,
            F.CHANNEL: self.channel,
            F.SPLITS: self.splits,
            F.SPLIT_STEPS: self.split_steps,
        }

    def __str__(self) -> str:
        tile = f"tiles of {self.tile_rows} x {self.tile_vectors} vectors, {self.used:.0%} of their lanes wanted"
        return f"{tile}; {self.blocks} blocks of {self.block_rows} rows"


CHAIN = 512
"""Products, about, that are added up in one chain."""

VECTOR_CYCLES, LINE_CYCLES = 8, 30
"""Of a vector that is interleaved or separated, in squares; and of a row to begin with."""

TAP_CYCLES = 6
"""Of a tap that the micro-kernel goes to, besides its channels."""

MISS_CYCLES = 7
"""Of a tap that a tile looks at and that meets no pixel: few, but for kernels about as large as the image."""

L1_BYTES = 24 << 10
"""Of the gradient's rows and the pixels that they are multiplied with."""


def _squares(simd: Simd, columns: int) -> int:
    """Cycles to interleave or separate a row."""
    return LINE_CYCLES + -(-columns // simd.lanes) * simd.lanes * VECTOR_CYCLES


def _met(points: int, step: int, shifts: list[int], size: int, together: int = 1) -> int:
    """For how many shifts a point, or any of some points together, meets the image: the sum over all points."""
    count = 0
    for shift in shifts:
        first, end = max(0, -(shift // step)), min(points, -((shift - size) // step))
        if first < end:
            count += (end - 1) // together - first // together + 1
    return count


def _channel(simd: Simd, rows: int, plane_w: int) -> int:
    """Elements of an interleaved channel: an odd number of vectors, or all channels would share a few cache sets."""
    return (rows * plane_w | 1) * simd.lanes


@lru_cache(maxsize=1024)
def batch_tiling(simd: Simd, p: Problem) -> BatchTiling | None:
    """The cut with the fewest cycles; None where a single row needs too much memory."""
    (I, J), (down, right) = p.lattice, p.source_step
    tap_rows, tap_columns = (sorted({tap[axis] for tap in p.taps}) for axis in (0, 1))
    batches = -(-p.images // simd.lanes)
    taps = len(p.taps)
    steps = -(-p.channels // -(-p.channels // max(1, CHAIN // taps)))
    passes = -(-p.channels // steps)
    met_rows = _met(I, down, tap_rows, p.size[0])
    best = None
    for tile_rows, vectors in shapes(simd):
        panels = -(-p.rows // tile_rows)
        tiles = -(-J // vectors)
        met = met_rows * _met(J, right, tap_columns, p.size[1], vectors)
        missed = MISS_CYCLES * passes * (taps * I * tiles - met)
        product = max(tile_rows * vectors + 0.1 * (tile_rows + vectors), 8)
        tile = passes * (TILE_CYCLES + WRITE_CYCLES * tile_rows * vectors)
        work = panels * (I * tiles * tile + met * (p.channels * product + passes * TAP_CYCLES))
        cost = batches * p.groups * (work + missed)
        if best is None or cost < best[0]:
            best = (cost, tile_rows, vectors, panels, tiles)
    assert best is not None
    product_cycles, tile_rows, vectors, panels, tiles = best
    plane_w = (tiles * vectors - 1) * right + tap_columns[-1] - tap_columns[0] + 1
    columns = min(p.size[1], plane_w)
    found = None
    for wanted in sorted({1, 2, 3, 4, 6, 8, 12, 16, 24, 32, I}):
        if wanted > I:
            continue
        block_rows = -(-I // wanted)
        blocks = -(-I // block_rows)
        read = min(p.size[0], (block_rows - 1) * down + tap_rows[-1] - tap_rows[0] + 1)
        channel = _channel(simd, read, plane_w)
        row_bytes = tile_rows * block_rows * tiles * vectors * simd.lanes * simd.itemsize
        slab_bytes = steps * channel * simd.itemsize
        if slab_bytes + row_bytes > (2 * PLANE_BYTES if block_rows > 1 else 8 * PLANE_BYTES):
            continue
        fit = max(1, (PLANE_BYTES if block_rows > 1 else 4 * PLANE_BYTES) // row_bytes)
        block_panels = -(-panels // min(panels, max(-(-panels // fit), -(-TASKS // (batches * p.groups * blocks)))))
        panel_blocks = -(-panels // block_panels)
        reading = batches * p.groups * blocks * panel_blocks * p.channels * read * _squares(simd, columns)
        writing = batches * p.groups * p.rows * I * _squares(simd, J)
        cycles = product_cycles + reading + writing
        if batches * p.groups * blocks * panel_blocks < TASKS:
            cycles *= 1.15
        if found is None or cycles < found.cycles:
            used = p.images * p.rows * J / (batches * simd.lanes * panels * tile_rows * tiles * vectors)
            found = BatchTiling(
                tile_rows,
                vectors,
                panels,
                plane_w,
                block_rows,
                blocks,
                block_panels,
                panel_blocks,
                steps,
                channel,
                cycles,
                used,
                batches,
            )
    return found


@lru_cache(maxsize=1024)
def batch_weight_tiling(simd: Simd, p: Problem) -> BatchTiling | None:
    """The cut of the adjoint for the weight, with tiles of target channels x columns; None as for `batch_tiling`."""
    (I, J), (down, right) = p.lattice, p.source_step
    tap_rows, tap_columns = (sorted({tap[axis] for tap in p.taps}) for axis in (0, 1))
    batches = -(-p.images // simd.lanes)
    plane_w = (J - 1) * right + tap_columns[-1] - tap_columns[0] + 1
    in_row = p.channels * len(tap_columns)
    met_rows = _met(I, down, tap_rows, p.size[0])
    accumulators = simd.instructions.registers - 2
    tiles = [(m, c) for m in range(1, 11) for c in range(1, 11) if m * c + c <= accumulators and c <= in_row]
    best = None
    for wanted in sorted({1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, I}):
        if wanted > I:
            continue
        block_rows = -(-I // wanted)
        blocks = -(-I // block_rows)
        read = min(p.size[0], (block_rows - 1) * down + tap_rows[-1] - tap_rows[0] + 1)
        channel = _channel(simd, read, plane_w)
        for m, c in tiles:
            panels = -(-p.rows // m)
            vector = simd.lanes * simd.itemsize
            for panel_blocks in {1, -(-panels // max(1, PLANE_BYTES // (m * block_rows * J * vector)))}:
                block_panels = -(-panels // panel_blocks)
                numbers = p.channels * channel + block_panels * m * block_rows * J * simd.lanes
                if numbers * simd.itemsize > (2 * PLANE_BYTES if block_rows > 1 else 8 * PLANE_BYTES):
                    continue
                # Beyond the L1 cache a cycle brings half a vector.
                near = (m * block_rows * J + min(c, p.channels) * read * plane_w) * vector <= L1_BYTES
                product = max(m * c, (m + c) / 2 if near else (m + c) * vector / 32, 8)
                groups = -(-in_row // c)
                met = met_rows * groups * J
                ends = blocks * len(tap_rows) * groups * (TILE_CYCLES + WRITE_CYCLES * m * c + 3 * m * c)
                reading = panel_blocks * p.channels * blocks * read * _squares(simd, min(p.size[1], plane_w))
                reading += p.rows * blocks * _squares(simd, block_rows * J)
                cycles = batches * p.groups * (panels * (met * product + ends) + reading)
                if best is None or cycles < best[0]:
                    used = p.images * p.rows * in_row / (batches * simd.lanes * panels * m * groups * c)
                    best = (cycles, m, c, panels, block_rows, blocks, block_panels, channel, used)
    if best is None:
        return None
    cycles, m, c, panels, block_rows, blocks, block_panels, channel, used = best
    panel_blocks = -(-panels // block_panels)
    units = batches * blocks
    part_bytes = p.groups * p.rows * p.channels * len(p.taps) * simd.itemsize
    splits = max(1, min(units, -(-TASKS // (p.groups * panel_blocks)), PARTS_BYTES // part_bytes))
    split_steps = -(-units // splits)
    splits = -(-units // split_steps)
    return BatchTiling(
        m,
        c,
        panels,
        plane_w,
        block_rows,
        blocks,
        block_panels,
        panel_blocks,
        p.channels,
        channel,
        cycles,
        used,
        batches,
        splits,
        split_steps,
    )
