"""Rung 14: bias, ReLU and pooling while the sums are still in the cache.

A network's layer is seldom a convolution alone. After it come max(y, 0) and the largest of each 2 x 2 results. One
after another, each step reads what the one before it has written:

    convolution  writes 4 bytes a result
    ReLU         reads 4, writes 4                 17 bytes a result, of which 16 are no part of the answer:
    pooling      reads 4, writes 1                 6.4 MB of results (8 x 64 x 56 x 56) don't fit into L2

Here two rows of results are made at a time, for one panel of filters: 8 x 2 x 58 sums, 3.7 KB, in L1. They are raised
to 0 and pooled from there, and only the pooled row is written:

    for n, pairs of rows, o in panels of 8 filters:
        sums = bias;   add all products, by tiles (rung 06), to 2 rows of 8 filters          in registers, then L1
        for q in pairs:   y[o, q] = max(0, the four sums)                                   1 byte a result to memory

The products are as many as before. What is saved is time at memory: much of the whole where a result has few products
(few channels, 1x1), and little where the layer has 146 flops a byte.

A NaN must stay one: `v > best or v != v`, since every comparison with NaN is false.

Exercise: the gradient of the pooling needs to know which of the four won. What must be written for it, and how many
bits does it take?
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.geometry import ConvGeometry
from fastconv.ladder import rung06_registers
from fastconv.ladder.rung03_padded import padded
from fastconv.ladder.rung06_registers import taps_at
from fastconv.ladder.tile import packed, tile, tile_shape

IDEA = "bias, ReLU and pooling in the same pass"

refuses = rung06_registers.refuses


@cache
def make(rows: int, width: int) -> Any:
    """Returns the loops over pairs of rows, by tiles of ``rows`` by ``width``."""
    add_products = tile(rows, width)

    def loops(x, at, w, b, y, sums, pitch, Q, steps, relu, pool):
        """Writes y (N, G, M, P, Q), or with pool the maxima of 2 x 2; sums is (rows, 2 pitch and beyond)."""
        N, G, M, P, _ = y.shape
        floor = 0 if relu else -np.inf
        high, panels = (P if pool else (P + 1) // 2), len(w) // G
        for n in range(N):
            for i in range(high):
                for o in range(len(w)):
                    g, m = o // panels, o % panels * rows
                    some = min(rows, M - m)
                    for k in range(some):
                        sums[k] = b[g * M + m + k]
                    for t in range(0, pitch + Q, width):
                        add_products(x, at, n * steps[0] + g * steps[1] + 2 * i * pitch + t, w[o], sums, t)
                    for k in range(some):
                        if pool:
                            for q in range(Q // 2):
                                best = y.dtype.type(floor)
                                for v in (
                                    sums[k, 2 * q],
                                    sums[k, 2 * q + 1],
                                    sums[k, pitch + 2 * q],
                                    sums[k, pitch + 2 * q + 1],
                                ):
                                    if v > best or v != v:  # noqa: PLR0124
                                        best = v
                                y[n, g, m + k, i, q] = best
                        else:
                            for p in range(2 * i, min(2 * i + 2, P)):
                                for q in range(Q):
                                    v = sums[k, p % 2 * pitch + q]
                                    y[n, g, m + k, p, q] = v if v > floor or v != v else y.dtype.type(floor)  # noqa: PLR0124

    return jit(loops, straight_lines=True, error_model="numpy")


def block(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry, relu: bool, pool: bool) -> np.ndarray:
    """Returns the convolution's results after ReLU, if asked for, and the maxima of 2 x 2 of them, if asked for."""
    rows, width = tile_shape(x.dtype)
    pitch = g.padding[2] + g.W + g.padding[3]
    image, row = padded(x, g, beyond=2 * pitch + width)
    plane = image.shape[2] * pitch
    high, wide = (g.P // 2, g.Q // 2) if pool else (g.P, g.Q)
    y = np.empty((g.N, g.groups, g.K // g.groups, high, wide), x.dtype)
    sums = np.zeros((rows, 2 * pitch + width), x.dtype)
    steps = g.C * plane, g.C // g.groups * plane
    weights = packed(w, g.groups, rows)
    make(rows, width)(row, taps_at(g, pitch, plane), weights, b, y, sums, pitch, g.Q, steps, relu, pool)
    return y.reshape(g.N, g.K, high, wide)


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, C / groups, R, S) and b (K,)."""
    return block(x, w, b, g, relu=False, pool=False)


def kernel(dtype: np.dtype[Any]) -> Any:
    """Returns the compiled function that the time goes into."""
    return make(*tile_shape(dtype))
