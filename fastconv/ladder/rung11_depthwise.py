"""Rung 11: depthwise, the other side of the roofline.

With one channel a group each result is a sum of R S products, and each pixel serves the R S results around it:

    y[n, k, p, q] = b[k] + the sum over r, s of  w[k, r, s] * image[n, k, p + r, q + s]

    3x3:   18 flops for one pixel read and one result written, 8 bytes: 2.25 flops a byte

A core of 200 GFLOP/s and a memory of 20 GB/s are in balance at 10 flops a byte. A dense layer of 64 channels has 146
flops a byte and is bound by arithmetic; this one is bound by memory, whatever the kernel does:

    allowed GFLOP/s = min(peak, flops per byte * bandwidth)           (Williams, Waterman and Patterson, 2009)

So tiles and panels have nothing to win. What matters is that memory is passed over once: all taps are applied in one
pass over a row, while its three lines of pixels are in L1, and the row of results is written once. R, S and the steps
along a row are numbers in the text of the compiled function (`make`), so the loops over taps are written out.

    for n, k, p:  for q:  y[q] = b + w[0, 0] * line0[q] + w[0, 1] * line0[q + 1] ... + w[2, 2] * line2[q + 2]

Exercise: the copy with a border writes and reads the image once more. How many flops a byte are left? Do without it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.geometry import ConvGeometry
from fastconv.ladder.rung03_padded import padded

IDEA = "depthwise: memory sets the pace"


def refuses(g: ConvGeometry) -> str | None:
    """Returns why it can't do a layer, or None."""
    return None if g.groups == g.C else "it is for one channel a group: layers that add up channels need ladder:09"


@cache
def make(R: int, S: int, across: int, apart: int) -> Any:
    """Returns the loops for a kernel of R x S whose taps are ``apart`` columns apart, results ``across`` columns."""

    def loops(image, w, b, y, down, far):
        """Writes y; w is (K, 1, R, S), down and far are the steps from row to row of results and of taps."""
        N, K, P, Q = y.shape
        C = image.shape[1]
        for n in range(N):
            for k in range(K):
                weights, plane = w[k, 0], image[n, k // (K // C)]
                for p in range(P):
                    row = y[n, k, p]
                    for q in range(Q):
                        total = b[k]
                        for r in range(R):
                            for s in range(S):
                                total += weights[r, s] * plane[p * down + r * far, q * across + s * apart]
                        row[q] = total

    return jit(loops, fastmath={"contract"}, error_model="numpy")


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, 1, R, S) and b (K,)."""
    image, _ = padded(x, g)
    y = np.empty(g.output_shape, x.dtype)
    make(g.R, g.S, g.stride[1], g.dilation[1])(image, w, b, y, g.stride[0], g.dilation[0])
    return y


def kernel(dtype: np.dtype[Any]) -> Any:
    """Returns the compiled function that the time goes into."""
    return make(3, 3, 1, 1)
