"""The arguments of a job of convolution, or of a weight gradient.

Addresses are in bytes, all else counts elements. Terms: a *source* image is read and a *target* is written, both
(N, channels, height, width) and contiguous. The *lattice* is the set of target pixels that a job computes, I x J in
each of N images, and u numbers them: u = (n * I + i) * J + j. Lattice point (i, j) is the target pixel
(Y0 + i * YI, X0 + j * XJ), and tap t of the kernel reads the source pixel (i * DI + dy[t], j * DJ + dx[t]) for it,
zero if there is none.
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.simd.arguments import Arguments


class ConvArguments(Arguments):
    """What all algorithms need; each derives its own from it where it needs more."""

    source: int
    """Address of the source images."""
    weight: int
    """Address of the weight."""
    grad: int
    """Address of the gradient that a weight gradient is made from, in the shape of the target."""
    bias: int
    """Address of the bias, or 0."""
    target: int
    """Address of the target, which of a weight gradient is the gradient."""
    panels: int
    """Address of the packed weight."""
    workspace: int
    """Address of the workspace of thread 0; those of the others follow."""
    thread_bytes: int
    """Bytes of a thread's workspace."""
    partial: int
    """Address of the results of a reduction's parts, one behind another."""
    kernel: int
    """Address of the micro-kernel, or of a table of them."""
    taps: int
    """Address of dy, dx and the place in the weight's kernel, for one tap after another."""
    limits: int
    """Address of two numbers: minus infinity, and the least that a result may be."""
    infinite: int
    """Set to 1 by a task that meets an infinite number, or NaN, in what it packs or computes."""
    N: int
    groups: int
    depth: int
    """Source channels in a group."""
    rows: int
    """Target channels in a group."""
    H: int
    """Height of the source."""
    W: int
    """Width of the source."""
    target_h: int
    target_w: int
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
    """1 if tap t is element t of the kernel, and there are no others."""
    by_taps: int
    """Taps of a packed weight that holds all channels of a tap together; 0 if it holds a channel's taps together."""
    weight_row: int
    """Elements of the weight between target channels."""
    weight_depth: int
    """Elements of the weight between source channels."""
    weight_group: int
    """Elements of the weight between groups."""
    tile_rows: int
    """MR."""
    tile_vectors: int
    """NR, in vectors."""
    steps: int
    """Steps of the reduction in one go: KC."""
    block_tiles: int
    """Tiles side by side in a block of pixels or columns."""
    block_panels: int
    """Panels, one below the other, in a task."""
    blocks: int
    """Blocks of pixels or columns."""
    panel_blocks: int
    """Tasks one below the other."""
    splits: int
    """Parts of a reduction that are added up at the end."""
    split_steps: int
    """Steps of the reduction in each part."""
