"""Winograd's minimal filtering F(2 x 2, 3 x 3) is a 3 x 3 convolution with 4 multiplications a pixel instead of 9.

Four outputs, 2 x 2, depend on a patch of 4 x 4 inputs. Both are seen as polynomials to be multiplied, evaluated at the
points 0, 1, -1 and infinity along each axis, multiplied there, and interpolated:

    y = A' [ (G g G') * (B' d B) ] A          * element by element, ' the transpose

    B' = | 1  0 -1  0 |     G = | 1    0    0 |     A' = | 1  1  1  0 |
         | 0  1  1  0 |         | 1/2  1/2 1/2|          | 0  1 -1 -1 |
         | 0 -1  1  0 |         | 1/2 -1/2 1/2|
         | 0  1  0 -1 |         | 0    0    1 |

The 16 numbers of a transformed patch are combined only at the end, so the sum over channels is 16 independent
products of matrices, (target channels x channels) by (channels x patches): 16 multiplications for four outputs, where
the definition needs 36. The transforms, a few additions each, and the short sums take a quarter of the time with 64
channels and less with more.

A task takes a block of NR patches, of all images side by side, and a block of target channels if patches are few:

    for KC channels                      so that 16 x KC x NR transformed numbers stay in the L2 cache
        transform their patches          straight from the image, a row of patches in the lanes
        for each of the 16 products
            for panels of MR channels    one micro-kernel call; KC x NR of the patches stay in the L1 cache
    transform the sums                   into 2 x 2 pixels each, add bias, apply floor, write to the target

Patches in a row start two pixels apart, so a vector of them is de-interleaved from loads of two vectors. A vector ends
where its row ends. Its lanes beyond the row are stored too, and the next row overwrites them, so rows of 4 or 7 patches
are stored without gaps, like those of 28.

A larger kernel is a sum of *pieces* of 3 x 3 taps, the last of them filled up with zero taps: each reads the patches
three pixels on from those of the piece before. The products treat a further piece like further channels: with four
pieces, 5 x 5 taps take 16 multiplications for a pixel instead of 25. So far this pays from some 16 channels on.

Rounding. Sums are over channels only, a ninth of the definition's terms, in blocks of at most 128; that makes up for
what the transforms add. Root-mean-square error over that of torch's direct form, normal deviates and (in brackets)
positive ones: 0.9 (1.1) for 32 channels, 1.2 (1.4) for 64, 1.6 (1.9) for 128, 1.5 (1.7) for 512. F(4 x 4, 3 x 3),
another 1.8 times fewer multiplications, has 6 to 18 times the error and is not offered. An infinite or overflowing
number would spread over its patch, so the last transform looks for these: the plan then computes all of it by its
fallback, `gemm`.

Zero taps. A pixel under a tap that is 0 still takes part in the sums, and rounding leaves a trace of it in the result,
some 2e-5 of a float32 pixel. If a whole row or column of taps is 0 in every kernel, as in causal and masked ones, the
plan also uses the fallback, where these pixels have no effect. Single zero taps, and the zeros that fill up the last
piece, don't count.

After A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), and S. Winograd,
"Arithmetic complexity of computations" (1980).
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.conv.winograd.arguments import FormSimd, WinogradArguments
from fastconv.backends.numba_cpu.conv.winograd.kernels import packing_numbers
from fastconv.backends.numba_cpu.conv.winograd.patches import (
    count_patches,
    describe_chunks,
    read_patches,
    table_bytes,
    write_zeros,
)
from fastconv.backends.numba_cpu.conv.winograd.results import write_pixels
from fastconv.backends.numba_cpu.gemm.tile_emitter import ACCUMULATE
from fastconv.backends.numba_cpu.simd import call
from fastconv.backends.numba_cpu.simd.task import task


def workspace_bytes(simd: FormSimd, steps: int, tile_rows: int, block_panels: int, tile_vectors: int, taps: int) -> int:
    """Return the bytes of a thread's workspace: transformed patches, their sums, zeros, and the table of chunks."""
    width = tile_vectors * simd.lanes
    patches = simd.products * (steps * width + simd.lanes)
    sums = simd.products * (block_panels * tile_rows * width + simd.lanes)
    numbers = max(patches, packing_numbers(simd, tile_rows, taps)) + sums
    return -(-numbers * simd.itemsize // 64) * 64 + table_bytes(simd, tile_vectors)


@task(WinogradArguments)
def multiply(simd, args, task, thread):
    """Compute a block of patches for a block of target channels in one group; do nothing if the fallback will run."""
    if args.infinite != 0:
        return
    rest, block = divmod(task, args.blocks)
    group, panel_block = divmod(rest, args.panel_blocks)
    rows, tile_rows = args.rows, args.tile_rows
    panels = (rows + tile_rows - 1) // tile_rows
    block_panels = args.block_panels
    first_panel = panel_block * block_panels
    here_panels = min(block_panels, panels - first_panel)
    width = args.tile_vectors * simd.lanes
    first = block * width
    count = min(width, count_patches(simd, args) - first)
    depth, steps = args.depth, args.steps
    kernel, limits = args.kernel, args.limits
    size = simd.itemsize

    # The workspace: patches, sums, zeros, chunks. A vector between matrices keeps their lines in different sets of the
    # L1 cache.
    patches = args.workspace + thread * args.thread_bytes
    patch_step = steps * width + simd.lanes
    products = simd.products
    sums = patches + size * products * patch_step
    sum_step = block_panels * tile_rows * width + simd.lanes
    nowhere = sums + size * products * sum_step
    table = write_zeros(simd, nowhere)
    row = group * rows + first_panel * tile_rows
    chunks = args.tile_vectors

    across = (args.tap_columns + simd.taps - 1) // simd.taps
    pieces = (args.tap_rows + simd.taps - 1) // simd.taps * across
    piece_step = tile_rows * depth + simd.lanes
    panel_step = pieces * piece_step
    weight_step = args.weight_step
    weight = args.panels + size * (products * weight_step * group + first_panel * panel_step)
    images = args.target
    start = 0
    for piece in range(pieces):
        tap = simd.taps * (piece // across), simd.taps * (piece % across)
        describe_chunks(simd, args, images, group, (row, 0), first, (count, chunks), tap, nowhere, table)
        for k in range(0, depth, steps):
            here = min(steps, depth - k)
            read_patches(simd, k, k + here, chunks, table, width, patches, patch_step)
            for point in range(products):
                right = patches + size * point * patch_step
                for panel in range(here_panels):
                    left = point * weight_step + panel * panel_step + piece * piece_step + k * tile_rows
                    target = sums + size * (point * sum_step + panel * tile_rows * width)
                    call(kernel, (here, weight + size * left, right, target, width, 0, start, limits))
            start = ACCUMULATE
    wanted = min(here_panels * tile_rows, rows - first_panel * tile_rows)
    if not write_pixels(simd, args, row, wanted, chunks, table, width, sums, sum_step, nowhere):
        args.infinite = 1
