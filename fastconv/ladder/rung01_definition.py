"""Rung 01: the definition, in Python.

    y[n, k, p, q] = b[k] + the sum over d, r, s of  w[k, d, r, s] * x[n, first + d, i, j]

    i = p * stride - padding + r * dilation,   j likewise,   x = 0 outside the image,
    first = the first channel of k's group

Seven loops: images n, filters k, rows p and columns q of the result, and for each of its elements a sum over channels
d and the taps (r, s) of the kernel. The innermost line runs N K P Q D R S times; it is one multiplication and one
addition, so the layer has twice as many flops: 64 to 64 channels, 3x3, on one image of 56 x 56 has 231 million, for
1.8 MB of numbers. All rungs do this arithmetic (12 does less), and differ in its order and in where numbers wait.

Why it is slow: for each product the interpreter looks up names, makes objects for numbers, and checks types, some
hundred instructions for one multiplication.

Exercise: a result is a sum of D R S products. How many of them does a pixel of the image take part in? At the border?
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.quiet import QUIET
from fastconv.geometry import ConvGeometry

IDEA = "the definition, in Python"


def correlate(x, w, b, y, stride, padding, dilation, groups):
    """Writes the definition's sums into y."""
    N, K, P, Q = y.shape
    _, D, R, S = w.shape
    _, _, H, W = x.shape
    for n in range(N):
        for k in range(K):
            first = k // (K // groups) * D
            for p in range(P):
                for q in range(Q):
                    total = float(b[k])
                    for d in range(D):
                        for r in range(R):
                            for s in range(S):
                                i = p * stride[0] - padding[0] + r * dilation[0]
                                j = q * stride[1] - padding[2] + s * dilation[1]
                                pixel = 0.0  # and 0 times an infinite weight is NaN, as it must be
                                if 0 <= i < H and 0 <= j < W:
                                    pixel = float(x[n, first + d, i, j])
                                total += pixel * float(w[k, d, r, s])
                    y[n, k, p, q] = total


@QUIET
def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, C / groups, R, S) and b (K,)."""
    y = np.empty(g.output_shape, x.dtype)
    correlate(x, w, b, y, g.stride, g.padding, g.dilation, g.groups)
    return y
