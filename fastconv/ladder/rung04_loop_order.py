"""Rung 04: pixels innermost.

The same products in another order. One weight goes over a whole row of the image, and adds to a whole row of results:

    for n, k, p, d, r, s:
        for q:   row[q] += w[k, d, r, s] * image[n, d, p + r, q + s]

The sums of neighbouring q have nothing to do with one another, so there is no chain: 16 of them (AVX-512, float32; 8
with AVX2, 4 with NEON) fit into one vector register, one instruction multiplies and adds them all, and LLVM finds that
out by itself, since `row[q]` and `image[..., q + s]` are neighbours in memory.

    one vector of products:   load 16 pixels,  load 16 sums,  multiply-add,  store 16 sums
    flops per byte of the first-level cache:   32 / (3 x 64 bytes) = 1/6

A core can load two vectors and store one (64 bytes each; some half of that) in a cycle, and could do two
multiply-adds. Here every multiply-add brings two loads and a store along, so the traffic between registers and the
first-level cache sets the pace, not the arithmetic. Of 64 x 9 visits to a row of results only the last had to store it.

"contract" lets LLVM fuse a multiplication and an addition into one instruction, which rounds once instead of twice.

Exercise: make r the innermost loop but one, and q the loop around it. What does --asm show now?
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.geometry import ConvGeometry
from fastconv.ladder.rung03_padded import padded

IDEA = "pixels innermost: the compiler makes vectors"


def passes(image, w, b, y, stride, dilation, groups):
    """Writes y, a row at a time: each weight in turn goes over the whole row."""
    N, K, P, Q = y.shape
    _, D, R, S = w.shape
    for n in range(N):
        for k in range(K):
            first = k // (K // groups) * D
            for p in range(P):
                row = y[n, k, p]
                row[:] = b[k]
                for d in range(D):
                    for r in range(R):
                        i = p * stride[0] + r * dilation[0]
                        for s in range(S):
                            weight = w[k, d, r, s]
                            line = image[n, first + d, i, s * dilation[1] :]
                            if stride[1] == 1:  # neighbours in memory, as the compiler must know
                                for q in range(Q):
                                    row[q] += weight * line[q]
                            else:
                                for q in range(Q):
                                    row[q] += weight * line[q * stride[1]]


loops = jit(passes, fastmath={"contract"})


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, C / groups, R, S) and b (K,)."""
    image, _ = padded(x, g)
    y = np.empty(g.output_shape, x.dtype)
    loops(image, w, b, y, g.stride, g.dilation, g.groups)
    return y


def kernel(dtype: np.dtype[Any]) -> Any:
    """Returns the compiled function that the time goes into."""
    return loops
