"""Rung 07: the other road, a matrix of windows and a matrix product from a library.

Write each window of the image as a column: D R S numbers, the pixels under the taps. Then all results of an image are
one product of matrices, and that is the operation on which most work has been spent since 1979:

    y (K, P Q) = w (K, D R S) @ columns (D R S, P Q)

    columns = for d, r, s:  the image shifted by (r, s), P Q numbers           bytes: R S times the image's

For 3x3 the matrix is 9 times as large as the image: 64 channels of 56 x 56 are 0.8 MB, their columns 7.2 MB. It is
written once and read once from memory or the third cache; the product then reads each of its numbers for all K
filters. 2 K flops for each number of 4 bytes: with K = 64 that is 32 flops a byte, and with the 6 filters of a first
layer it is 3, less than memory can feed.

NumPy's `@` calls a BLAS (OpenBLAS in NumPy's wheels), which has kernels in assembly for many processors.

Exercise: for which layers is the matrix of windows the image itself, so that nothing need be copied?
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.quiet import QUIET
from fastconv.geometry import ConvGeometry
from fastconv.ladder.rung03_padded import padded

IDEA = "a matrix of windows, the library's product"


def columns(image: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns the windows of one image (C, height, pitch) as columns, (groups, D R S, P Q)."""
    found = np.empty((g.C, g.R, g.S, g.P, g.Q), image.dtype)
    for r in range(g.R):
        rows = slice(r * g.dilation[0], r * g.dilation[0] + (g.P - 1) * g.stride[0] + 1, g.stride[0])
        for s in range(g.S):
            start = s * g.dilation[1]
            found[:, r, s] = image[:, rows, start : start + (g.Q - 1) * g.stride[1] + 1 : g.stride[1]]
    return found.reshape(g.groups, -1, g.P * g.Q)


@QUIET
def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, C / groups, R, S) and b (K,)."""
    images, _ = padded(x, g)
    weights = w.reshape(g.groups, g.K // g.groups, -1)
    y = np.empty(g.output_shape, x.dtype)
    for n, image in enumerate(images):
        y[n] = (weights @ columns(image, g)).reshape(g.K, g.P, g.Q)
    y += b[:, None, None]
    return y
