"""This file cuts gradients through max pooling into tasks and predicts their cost: see gemm/tiling.py and argmax.py."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastconv.backends.numba_cpu.fused.sparse_grad.argmax import most_vectors
from fastconv.backends.numba_cpu.fused.sparse_grad.listing import list_bytes, lists_vectors
from fastconv.backends.numba_cpu.fused.sparse_grad.strips import fits, patch_numbers, strip_numbers
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.splitting import parts_of, tasks_for

COST = CPU.sparse_grad


@dataclass(frozen=True)
class ArgmaxTiling:
    """Says how a gradient through max pooling is cut into tasks, blocks and kernel calls."""

    rows: int
    """Rows of a patch."""
    columns: int
    """Vectors in each row of a patch."""
    tile_rows: int
    """Rows of a patch in a kernel call."""
    groups: int
    """Groups of source channels, each as many as a vector has lanes; strips hold all channels in one group."""
    task_groups: int
    """Groups of source channels in a task."""
    channels: int
    """Target channels whose argmax pixels are listed together; of a weight gradient, those in a task."""
    block_rows: int
    """Rows of pooled pixels in a block."""
    plane_w: int
    """Columns of a plane; 0 where there are strips."""
    plane_rows: int
    """Rows of a plane of the input gradient, which holds the whole image; 0 for a weight gradient."""
    step: int
    """Elements from one row of a patch to the next."""
    cycles: float
    """Predicted cycles of all tasks together."""
    splits: int = 1
    """Parts of the batch, whose weight gradients are added up at the end."""
    split_steps: int = 0
    """Images in each of these parts."""

    @property
    def vectors(self) -> int:
        """Return the number of vectors of a patch."""
        return self.rows * self.columns

    @property
    def fields(self) -> dict[str, int]:
        """Return the arguments that tell the tasks how the work is cut."""
        return {
            "patch_rows": self.rows,
            "tile_rows": self.tile_rows,
            "patch_vectors": self.columns,
            "channel_groups": self.groups,
            "task_groups": self.task_groups,
            "block_channels": self.channels,
            "block_rows": self.block_rows,
            "plane_w": self.plane_w,
            "row_step": self.step,
            "splits": self.splits,
            "split_steps": self.split_steps,
        }


def weight_tiling(simd: Simd, p: Problem, live: float) -> ArgmaxTiling | None:
    """Return the tiling of the weight gradient, or None where patches can't lie in strips or planes.

    ``live`` is the expected share of the argmax pixels whose gradient isn't zero.
    """
    if not fits(p):
        return None
    strips = -(-patch_numbers(p) // simd.lanes)
    pooled_rows, pooled_columns = p.lattice[0] // 2, p.lattice[1] // 2
    tap_rows, tap_columns = p.grid
    if strips <= COST.strip_vectors:
        rows, columns, groups, wide = 1, strips, 1, 0
        row_bytes = strip_numbers(simd, p) * simd.itemsize
        block_rows = max(1, min(pooled_rows, COST.strips_bytes // (2 * row_bytes)))
        step = 0
        filling = 2.0 * pooled_rows * strip_numbers(simd, p) * 2
    else:
        rows, columns, groups = len(tap_rows), len(tap_columns), -(-p.channels // simd.lanes)
        wide = (p.lattice[1] - 1) * p.source_step[1] + columns
        row_bytes = wide * simd.lanes * simd.itemsize
        reach = tap_rows[-1] - tap_rows[0]
        fit = (COST.plane_bytes // row_bytes - reach - 1) // (2 * p.source_step[0])
        block_rows = max(1, min(pooled_rows, fit))
        step = (tap_rows[1] - tap_rows[0]) * wide * simd.lanes if rows > 1 else 0
        read = -(-pooled_rows // block_rows) * ((2 * block_rows - 1) * p.source_step[0] + reach + 1)
        filling = groups * read * _row_cycles(simd, min(p.size[1], wide))
    tile_rows = _tile_rows(simd, rows, columns)
    if tile_rows is None:
        return None
    patch_bytes = groups * rows * columns * simd.lanes * simd.itemsize
    pixels = block_rows * pooled_columns
    together = min(COST.sums_bytes // patch_bytes, COST.lists_bytes // list_bytes(simd, pixels))
    channel_blocks = -(-p.rows // max(1, min(p.rows, together)))
    channels = -(-p.rows // channel_blocks)
    channel_blocks = -(-p.rows // channels)
    part_bytes = p.rows * p.channels * len(p.taps) * simd.itemsize
    most = max(1, min(p.images, tasks_for(channel_blocks), CPU.gemm.parts_bytes // part_bytes))
    splits, images = parts_of(p.images, most)
    blocks = -(-pooled_rows // block_rows)
    calls = blocks * groups * -(-rows // tile_rows)
    kernel = groups * _kernel_cycles(rows, columns, tile_rows, COST.load)
    work = blocks * _list_cycles(simd, pixels) + pooled_rows * pooled_columns * live * kernel
    ends = calls * COST.call + COST.sums * blocks * groups * rows * columns
    cycles = p.images * (p.rows * (work + ends) + channel_blocks * filling) + 4 * splits * part_bytes / simd.itemsize
    return ArgmaxTiling(
        rows,
        columns,
        tile_rows,
        groups,
        groups,
        channels,
        block_rows,
        wide,
        0,
        step,
        cycles,
        splits,
        images,
    )


def input_tiling(simd: Simd, p: Problem, live: float) -> ArgmaxTiling | None:
    """Return the tiling of the input gradient of the convolution ``p``, or None as in `weight_tiling`."""
    if not fits(p):
        return None
    tap_rows, tap_columns = p.grid
    (down, right), (I, J) = p.source_step, p.lattice
    rows, columns, groups = len(tap_rows), len(tap_columns), -(-p.channels // simd.lanes)
    # A plane holds every pixel of the image, and every one beyond it that a tap reads.
    plane_rows = max(p.size[0], (I - 1) * down + tap_rows[-1] + 1) - tap_rows[0]
    wide = max(p.size[1], (J - 1) * right + tap_columns[-1] + 1) - tap_columns[0]
    plane_bytes = (plane_rows * wide + simd.lanes) * simd.lanes * simd.itemsize
    tile_rows = _tile_rows(simd, rows, columns)
    pooled = I // 2, J // 2
    list_of_channel = list_bytes(simd, math.prod(pooled))
    if tile_rows is None or plane_bytes > COST.whole_bytes or list_of_channel > COST.lists_bytes:
        return None
    blocks = min(groups, max(-(-groups * plane_bytes // COST.whole_bytes), tasks_for(p.images)))
    task_groups = -(-groups // blocks)
    blocks = -(-groups // task_groups)
    step = (tap_rows[1] - tap_rows[0]) * wide * simd.lanes if rows > 1 else 0
    update = COST.update if plane_bytes <= COST.near_bytes else COST.update_far
    kernel = groups * _kernel_cycles(rows, columns, tile_rows, update)
    work = blocks * _list_cycles(simd, math.prod(pooled)) + math.prod(pooled) * live * kernel
    calls = groups * (-(-rows // tile_rows) * COST.call + COST.weights * rows * columns)
    write = groups * (p.size[0] * _row_cycles(simd, p.size[1]) + 2 * plane_rows * wide)
    cycles = p.images * (p.rows * (work + calls) + write)
    return ArgmaxTiling(
        rows,
        columns,
        tile_rows,
        groups,
        task_groups,
        min(p.rows, COST.lists_bytes // list_of_channel),
        pooled[0],
        wide,
        plane_rows,
        step,
        cycles,
    )


def _tile_rows(simd: Simd, rows: int, columns: int) -> int | None:
    """Return how many rows of a patch a kernel takes, or None where one row needs more registers than there are."""
    most = most_vectors(simd.instructions) // columns
    return -(-rows // -(-rows // min(rows, most))) if most else None


def _list_cycles(simd: Simd, windows: int) -> float:
    """Return the cycles of listing the argmax pixels of ``windows`` windows."""
    vectors, rest = divmod(windows, simd.lanes) if lists_vectors(simd) else (0, windows)
    return vectors * COST.list_vector + rest * COST.list


def _kernel_cycles(rows: int, columns: int, tile_rows: int, vector: float) -> float:
    """Return the cycles of one argmax pixel, for one group of source channels."""
    return rows * columns * vector + 3 * -(-rows // tile_rows)


def _row_cycles(simd: Simd, columns: int) -> int:
    """Return the cycles of a row that is interleaved or separated."""
    return 30 + -(-columns // simd.lanes) * simd.lanes * COST.square
