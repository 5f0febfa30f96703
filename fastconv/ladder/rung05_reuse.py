"""Rung 05: four filters and three taps in one pass.

What is loaded must serve more than one product before it is forgotten. Three neighbouring taps of a row need the same
pixels shifted by one, and all filters need the same pixels. So one pass over a row of the image takes three taps of
four filters:

    for n, k in fours, p, d, r:
        for q:   u, v, t = line[q], line[q + 1], line[q + 2]
                 row0[q] += w[k, d, r, 0] * u + w[k, d, r, 1] * v + w[k, d, r, 2] * t
                 row1[q] += w[k + 1, ...] ...,   row2, row3 likewise

    one step:   3 loads of pixels, 4 loads and 4 stores of sums, for 12 multiply-adds
    a multiply-add:   0.9 accesses instead of 3;   flops per byte 12 x 32 / (11 x 64) = 0.55 instead of 0.17

The twelve weights stay in twelve registers during the pass. With stride 1 the three pixels of a vector come from three
loads that overlap; memory has no vector of them that could be shifted for less.

What it can't do: the kernel's rows must have three taps, each group a multiple of four filters, and columns stride 1.
A kernel of any size needs a loop over taps and filters, and sums that stay in registers meanwhile: the next rung.

Exercise: take two filters instead of four, and eight. Which of the two is slower, and what is it that runs out?
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.geometry import ConvGeometry
from fastconv.ladder.rung03_padded import padded

IDEA = "four filters, three taps a pass"


def refuses(g: ConvGeometry) -> str | None:
    """Returns why it can't do a layer, or None."""
    if g.S != 3 or g.K // g.groups % 4 or g.stride[1] != 1:
        return "a pass takes three taps and four filters over neighbouring pixels: other layers need ladder:09"
    return None


def passes(image, w, b, y, stride, dilation, groups):
    """Writes y, four rows at a time, one for each of four filters; w is (K, D, R, 3)."""
    N, K, P, Q = y.shape
    _, D, R, _ = w.shape
    for n in range(N):
        for k in range(0, K, 4):
            first = k // (K // groups) * D
            for p in range(P):
                row0, row1, row2, row3 = y[n, k, p], y[n, k + 1, p], y[n, k + 2, p], y[n, k + 3, p]
                row0[:], row1[:], row2[:], row3[:] = b[k], b[k + 1], b[k + 2], b[k + 3]
                for d in range(D):
                    for r in range(R):
                        line0 = image[n, first + d, p * stride[0] + r * dilation[0]]
                        line1, line2 = line0[dilation[1] :], line0[2 * dilation[1] :]
                        a0, a1, a2 = w[k, d, r, 0], w[k, d, r, 1], w[k, d, r, 2]
                        b0, b1, b2 = w[k + 1, d, r, 0], w[k + 1, d, r, 1], w[k + 1, d, r, 2]
                        c0, c1, c2 = w[k + 2, d, r, 0], w[k + 2, d, r, 1], w[k + 2, d, r, 2]
                        d0, d1, d2 = w[k + 3, d, r, 0], w[k + 3, d, r, 1], w[k + 3, d, r, 2]
                        for q in range(Q):
                            u, v, t = line0[q], line1[q], line2[q]
                            row0[q] += a0 * u + a1 * v + a2 * t
                            row1[q] += b0 * u + b1 * v + b2 * t
                            row2[q] += c0 * u + c1 * v + c2 * t
                            row3[q] += d0 * u + d1 * v + d2 * t


loops = jit(passes, fastmath={"contract"})


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, C / groups, R, 3) and b (K,)."""
    image, _ = padded(x, g)
    y = np.empty(g.output_shape, x.dtype)
    loops(image, w, b, y, g.stride, g.dilation, g.groups)
    return y


def kernel(dtype: np.dtype[Any]) -> Any:
    """Returns the compiled function that the time goes into."""
    return loops
