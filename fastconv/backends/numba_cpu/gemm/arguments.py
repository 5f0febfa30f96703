"""This module declares the arguments of a job that computes a convolution or a weight gradient.

Addresses are in bytes, all other sizes count elements. Terms: a *source* image is read and a *target* is written, both
(N, channels, height, width) and contiguous. The *lattice* is the set of target pixels that a job computes, I x J in
each of N images, and u is the index of one of them: u = (n * I + i) * J + j. Lattice point (i, j) is the target pixel
(Y0 + i * YI, X0 + j * XJ), and tap t of the kernel reads the source pixel (i * DI + dy[t], j * DJ + dx[t]) for it,
zero if there is none.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.simd.arguments import Arguments


class ConvArguments(Arguments):
    """These arguments are common to all algorithms; an algorithm that needs more derives a class from this one."""

    source: int
    """Address of the source images."""
    weight: int
    """Address of the weight."""
    grad: int
    """Address of the output gradient, from which a weight gradient is computed; it has the target's shape."""
    bias: int
    """Address of the bias, or 0."""
    residual: int
    """Address of images of the target's shape that are added to the results before these are limited, or 0."""
    target: int
    """Address of the target; for a weight gradient, of the weight gradient."""
    panels: int
    """Address of the packed weight."""
    workspace: int
    """Address of the workspace of thread 0; the workspaces of the other threads follow it."""
    thread_bytes: int
    """Size of one thread's workspace, in bytes."""
    partial: int
    """Address of the partial results of a split reduction, one after another."""
    kernel: int
    """Address of the micro-kernel, or of a table of micro-kernels' addresses."""
    taps: int
    """Address of a table with three integers a tap: dy, dx and the tap's index in the weight's kernel."""
    limits: int
    """Address of four numbers: minus infinity, infinity, and the limits of every result (0 and infinity for ReLU)."""
    activation: int
    """Address of a function that activates results in place, once they are limited (fused/post_op.py), or 0."""
    infinite: int
    """A task sets this to 1 if it finds an infinite number or NaN in the data that it packs or computes."""
    N: int
    groups: int
    depth: int
    """Number of source channels in a group."""
    rows: int
    """Number of target channels in a group."""
    H: int
    """Height of the source."""
    W: int
    """Width of the source."""
    target_h: int
    target_w: int
    target_channels: int
    """Channels of the images that the target is in: those of all groups, or more if it is some channels of them."""
    I: int
    J: int
    DI: int
    DJ: int
    Y0: int
    YI: int
    X0: int
    XJ: int
    tap_count: int
    in_order: int
    """1 if tap t is element t of the weight's kernel for every t and the kernel has no other elements, else 0."""
    weight_row: int
    """Distance between target channels in the weight, in elements."""
    weight_depth: int
    """Distance between source channels in the weight, in elements."""
    weight_group: int
    """Distance between groups in the weight, in elements."""
    tile_rows: int
    """Rows of a tile: MR."""
    tile_vectors: int
    """Columns of a tile, NR, in vectors."""
    steps: int
    """Steps of the reduction that are packed and multiplied at a time: KC."""
    block_tiles: int
    """Number of tiles side by side in a block of pixels or columns."""
    block_panels: int
    """Number of panels, one below the other, in a task."""
    blocks: int
    """Number of blocks of pixels or columns."""
    panel_blocks: int
    """Number of tasks one below the other: blocks of panels."""
    splits: int
    """Number of parts of the reduction, whose results are added up at the end."""
    split_steps: int
    """Number of steps of the reduction in each part. Tiles of a convolution that are written by way of the workspace
    are written once for a part: a multiple of KC."""


NO_LIMITS = (-math.inf, math.inf)


@cache
def limits_of(simd: Simd, limits: tuple[float, float]) -> np.ndarray:
    """Return what the argument ``limits`` points to, for results between two ``limits``."""
    return np.array([*NO_LIMITS, *limits], simd.dtype)
