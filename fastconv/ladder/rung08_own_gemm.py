"""Rung 08: our own matrix product, by packing and by blocks for each cache.

    y (M, T) += w (M, depth) @ columns (depth, T)          M filters of a group, T pixels, depth = D R S

The tile of rung 06 does the arithmetic; what is left to decide is where its operands lie (Goto and van de Geijn, 2008):

    for k in depth, 192 at a time:                          a block of columns is packed: 192 x 32 numbers in a row,
        for t in pixels, one panel of 32 at a time:         24 KB, which stay in L1 while all filters pass by
            pack the panel: panel[k * 32 + j] = columns[k, t + j]
            for o in panels of 8 filters:                   192 x 8 weights, 6 KB, and all of them 48 KB: in L2
                tile += 192 products for each of 8 x 32 sums

Packing copies each number of the columns once, and it is then read K / 8 times. Two things are gained. The tile reads
its pixels in order, so that the processor fetches the next before they are asked for. And they lie together: rows of
columns are T numbers apart, 12.5 KB for 56 x 56, so 32 pixels of 192 rows would touch 192 pages of memory, more than
the first-level table of page addresses (64 to 96) holds. The packing itself pays for these pages once: together with
the making of the columns it is almost half of this rung's time.

The depth is cut so that a panel fits into L1. Sums then leave the registers once for each 192 products.

Exercise: set DEPTH to 16, and to 4096. What does each cost, and from which cache do the panels then come?
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.geometry import ConvGeometry
from fastconv.ladder.rung03_padded import padded
from fastconv.ladder.rung07_im2col import columns
from fastconv.ladder.tile import packed, started, tile, tile_shape

IDEA = "our own product: packing, blocks for each cache"

DEPTH = 192
"""Steps of the depth in one block: a panel two vectors wide takes 24 KB, of the 32 or 48 KB of L1."""


@cache
def make(rows: int, width: int) -> Any:
    """Returns the product for tiles of ``rows`` by ``width``."""
    add_products = tile(rows, width)

    def multiply(w, columns, y, panel, at):
        """Adds the product of w, which is `packed`, and columns (depth, T) to y (panels * rows, T and beyond)."""
        depth, T = columns.shape
        for k in range(0, depth, DEPTH):
            steps = min(DEPTH, depth - k)
            for t in range(0, T, width):
                for step in range(steps):
                    line = columns[k + step, t : t + width]
                    for j in range(line.size):
                        panel[step * width + j] = line[j]
                for o in range(len(w)):
                    add_products(panel, at[:steps], 0, w[o, k : k + steps], y[o * rows : (o + 1) * rows], t)

    return jit(multiply, straight_lines=True, error_model="numpy")


def product(w: np.ndarray, columns: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> None:
    """Adds w @ columns to y, w being `packed` for tiles of a shape and y wide enough for whole tiles."""
    panel, at = np.zeros(DEPTH * shape[1], y.dtype), np.arange(DEPTH) * shape[1]
    make(*shape)(w, columns, y, panel, at)


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns y (N, K, P, Q) from x (N, C, H, W), w (K, C / groups, R, S) and b (K,)."""
    rows, width = tile_shape(x.dtype)
    images, _ = padded(x, g)
    y = started(b, g.groups, rows, g.N, -(-g.P * g.Q // width) * width)
    weights = packed(w, g.groups, rows).reshape(g.groups, -1, w[0].size, rows)
    for n, image in enumerate(images):
        for group, windows in enumerate(columns(image, g)):
            product(weights[group], windows, y[n, group], (rows, width))
    return y[:, :, : g.K // g.groups, : g.P * g.Q].reshape(g.output_shape)


def kernel(dtype: np.dtype[Any]) -> Any:
    """Returns the compiled function that the time goes into."""
    return make(*tile_shape(dtype))
