"""Winograd's minimal filtering is a 3 x 3 convolution with 2.9 or 4 multiplications a pixel instead of 9.

A tile of outputs, m x m, depends on a patch of n x n inputs, n = m + r - 1 for r x r taps. Both are seen as polynomials
to be multiplied, evaluated at n points along each axis, multiplied there, and interpolated:

    y = A' [ (G g G') * (B' d B) ] A          * element by element, ' the transpose

There are two forms of 3 x 3 taps. F(2 x 2, 3 x 3) has the points 0, 1, -1 and infinity:

    B' = | 1  0 -1  0 |     G = | 1    0    0 |     A' = | 1  1  1  0 |
         | 0  1  1  0 |         | 1/2  1/2 1/2|          | 0  1 -1  1 |
         | 0 -1  1  0 |         | 1/2 -1/2 1/2|
         | 0 -1  0  1 |         | 0    0    1 |

16 multiplications for four outputs. F(4 x 4, 3 x 3) has the points 0, 1, -1, +-i and infinity. The two points +-i are
the remainder modulo x^2 + 1, a complex number; it has a row for 1 and one for x:

    B' = | 1  0  0  0 -1  0 |     G = | 1    0    0  |     A' = | 1  1  1  1  0  0 |
         | 0  1  1  1  1  0 |         | 1/4  1/4  1/4|          | 0  1 -1  0  1  0 |
         | 0 -1  1 -1  1  0 |         | 1/4 -1/4  1/4|          | 0  1  1 -1  0  0 |
         | 0 -1  0  1  0  0 |         | 0   -1/2  0  |          | 0  1 -1  0 -1  1 |
         | 0  0 -1  0  1  0 |         | 1/2  0   -1/2|
         | 0 -1  0  0  0  1 |         | 0    0    1  |

Of the 6 x 6 numbers, 16 are real and 20 make ten complex ones, each of them three real products: 46 for 16 outputs
(forms/blocks.py). B' and A' are additions only, 8 along an axis each, and G has powers of two. The points +-2 in place
of +-i would need 36 products, but B' and A' then have factors up to 8, and the error is 6 to 18 times torch's.

The numbers of a transformed patch are combined only at the end, so the sum over channels is 16 or 46 independent
products of matrices, (target channels x channels) by (channels x patches). The transforms and the short sums take a
quarter of the time with 64 channels and less with more.

A task takes a block of NR patches, of all images side by side, and a block of target channels if patches are few:

    for KC channels                      so that transformed numbers, 46 x KC x NR, stay in the L2 cache
        transform their patches          straight from the image, a patch to a lane
        for each of the products
            for panels of MR channels    one micro-kernel call; KC x NR of the patches stay in the L1 cache
    transform the sums                   into m x m pixels each, add bias, clamp, write to the target

Other forms have the points of x^2 + x + 1 and x^2 - x + 1 besides, which with 0, 1 and -1 are the roots of x^7 - x:

    F(4 x 4, 5 x 5)    0, 1, -1, roots of unity of order 3 and 6, infinity    88 products     5.5 an output, for 25 taps
    F(4 x 4, 7 x 7)    the same and those of order 4                         154              9.6                49
    F(1 x 4, 1 x 7)    the same along one axis                                13              3.3                 7

and lines of 3 and 5 taps, which have one axis of F(4 x 4, 3 x 3) and of F(4 x 4, 5 x 5). Their B' and A' are additions
too, up to a factor of 2, and G has thirds. A kernel larger than a form's is a sum of *pieces* of its taps, the last of
them filled up with zero taps: each reads the patches some pixels on from those of the piece before. The products treat
a further piece like further channels. In pieces of 3 x 3, a kernel of 5 x 5 takes 16 multiplications by F(2 x 2) or
11.5 by F(4 x 4); a form of other taps is for kernels for which it needs fewer.

Rounding. Sums are over channels only, a ninth of the definition's terms, in blocks of at most 128 (F(4 x 4): 64); that
makes up for what the transforms add. Root-mean-square error over that of torch's direct form, by F(2 x 2) and F(4 x 4),
normal deviates and (in brackets) those after ReLU: 0.9 and 1.0 (1.1 and 1.3) for 8 channels, 1.2 and 1.3 (1.5 and 1.6)
for 64, 1.6 and 1.2 (1.8 and 1.4) for 512, 1.3 and 1.2 (1.3 and 1.2) for 2048. By F(4 x 4, 5 x 5) it is 0.6 to 1.1 (0.8
to 1.4), by F(4 x 4, 7 x 7) 0.7 to 1.2 (0.9 to 1.5), by lines of 7 taps 1.1 to 1.7 (1.3 to 2.1). An infinite or
overflowing number would spread over its patch, so the last transform looks for these: the plan then computes all of it
by its fallback, `gemm`.

Zero taps. A pixel under a tap that is 0 still takes part in the sums, and rounding leaves a trace of it in the result,
some 2e-5 of a float32 pixel. If a whole row or column of taps is 0 in every kernel, as in causal and masked ones, the
plan also uses the fallback, where these pixels have no effect. Single zero taps, and the zeros that fill up the last
piece, don't count.

After S. Winograd, "Arithmetic complexity of computations" (1980); A. Lavin and S. Gray, "Fast algorithms for
convolutional neural networks" (CVPR 2016). Complex points: L. Meng and J. Brothers, "Efficient Winograd convolution via
integer arithmetic" (arXiv 1901.01965); errors of points: B. Barabasz et al., "Error analysis and improving the accuracy
of Winograd convolution for deep neural networks" (arXiv 1803.10986), B. Barabasz and D. Gregg, "Winograd convolution
for DNNs: beyond linear polynomials" (arXiv 1905.05233).
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.conv.winograd.arguments import FormSimd, WinogradArguments
from fastconv.backends.numba_cpu.conv.winograd.kernels import count_pieces, packing_numbers, piece_at
from fastconv.backends.numba_cpu.conv.winograd.patches import (
    count_patches,
    describe_chunks,
    read_patches,
    table_bytes,
    write_zeros,
)
from fastconv.backends.numba_cpu.conv.winograd.results import write_pixels
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

    pieces = count_pieces(simd, args)
    piece_step = tile_rows * depth + simd.lanes
    panel_step = pieces * piece_step
    weight_step = args.weight_step
    weight = args.panels + size * (products * weight_step * group + first_panel * panel_step)
    images = args.target
    goes_on = False
    for piece in range(pieces):
        tap = piece_at(simd, args, piece)
        describe_chunks(simd, args, images, group, (row, 0), first, (count, chunks), tap, nowhere, table)
        for k in range(0, depth, steps):
            here = min(steps, depth - k)
            read_patches(simd, k, k + here, chunks, table, width, patches, patch_step)
            for point in range(products):
                right = patches + size * point * patch_step
                for panel in range(here_panels):
                    left = point * weight_step + panel * panel_step + piece * piece_step + k * tile_rows
                    c = sums + size * (point * sum_step + panel * tile_rows * width)
                    call(kernel, (here, weight + size * left, right, c, width, 0, c if goes_on else 0, limits))
            goes_on = True
    wanted = min(here_panels * tile_rows, rows - first_panel * tile_rows)
    if not write_pixels(simd, args, row, wanted, chunks, table, width, sums, sum_step, nowhere):
        args.infinite = 1
