"""Rung 13: the gradients.

Given the gradient of the results, each of the operands has one, and both are sums over the same products' indices:

    weight gradient   dw[k, d, r, s]  =  the sum over n, p, q of  grad[n, k, p, q] * image[n, d, p * stride + r, ...]
    input gradient    dx[n, d, h, v]  =  the sum over k, r, s of  grad[n, k, p, q] * w[k, d, r, s]
                                         with  p * stride + r * dilation - padding = h,  q likewise

**Input gradient.** With stride 2, p = (h + padding - r) / 2 is a whole number for every other r only. Drawn as a
convolution, it is one of a gradient with zeros spread between its pixels, and three of four products would be with
them. Instead the pixels are taken by their phase, h and v modulo the stride: all pixels of a phase meet the same
taps, and neighbours in a phase meet neighbours of the gradient:

    for n, d, h, phase:  for k, taps (r, s) of the phase:  row[j] += w[k, d, r, s] * grad[n, k, p, q0 + j]
    taps of a 3x3 kernel with stride 2:   1, 2, 2 and 4 for the four phases, 9 together: as many as forward

A tap beside the gradient's end is left out, not multiplied by 0: no such product exists.

**Weight gradient.** There are few results and a long sum for each, over all pixels. Summed up in one register it would
be a chain, as in rung 02. So each column q has a sum of its own, and these are added at the end:

    for k, d, r, s:  for n, p:  for q:  sums[q] += grad[n, k, p, q] * image[n, d, p * stride + r, q * stride + s]

Both go along rows of pixels, as rung 04 does, with its traffic between registers and L1.

Exercise: apply rung 05 to the weight gradient: three taps need the same gradient. What stays in registers?
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.jit import jit
from fastconv.geometry import ConvGeometry
from fastconv.ladder.rung03_padded import padded

IDEA = "gradients, along rows of pixels"


def phases(grad, w, x, row, stride, padding, dilation, groups):
    """Writes x (N, C, H, W); row has room for the pixels of one phase."""
    N, C, H, W = x.shape
    K, D, R, S = w.shape
    P, Q = grad.shape[2:]
    filters = K // groups
    for n in range(N):
        for c in range(C):
            for h in range(H):
                for phase in range(min(stride[1], W)):
                    count = (W - phase + stride[1] - 1) // stride[1]
                    row[:count] = 0
                    for k in range(c // D * filters, (c // D + 1) * filters):
                        for r in range(R):
                            p, rest = divmod(h + padding[0] - r * dilation[0], stride[0])
                            if rest != 0 or p < 0 or p >= P:
                                continue
                            for s in range(S):
                                q, rest = divmod(phase + padding[2] - s * dilation[1], stride[1])
                                first, last = max(0, -q), min(count, Q - q)
                                if rest != 0 or first >= last:
                                    continue
                                weight = w[k, c % D, r, s]
                                sums, line = row[first:last], grad[n, k, p, q + first : q + last]
                                for j in range(last - first):
                                    sums[j] += weight * line[j]
                    x[n, c, h, phase :: stride[1]] = row[:count]


def columns(image, grad, w, sums, stride, dilation, groups):
    """Writes w (K, D, R, S); sums has room for a row of the gradient."""
    N, K, P, Q = grad.shape
    _, D, R, S = w.shape
    for k in range(K):
        for d in range(D):
            c = k // (K // groups) * D + d
            for r in range(R):
                for s in range(S):
                    sums[:] = 0
                    for n in range(N):
                        for p in range(P):
                            line = image[n, c, p * stride[0] + r * dilation[0], s * dilation[1] :]
                            change = grad[n, k, p]
                            if stride[1] == 1:
                                for q in range(Q):
                                    sums[q] += change[q] * line[q]
                            else:
                                for q in range(Q):
                                    sums[q] += change[q] * line[q * stride[1]]
                    w[k, d, r, s] = sums.sum()


input_loops, weight_loops = jit(phases, fastmath={"contract"}), jit(columns, fastmath={"contract"})


def conv2d_input(grad: np.ndarray, w: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns the input gradient (N, C, H, W) from grad (N, K, P, Q) and w."""
    x = np.empty(g.input_shape, grad.dtype)
    input_loops(grad, w, x, np.empty(g.W, grad.dtype), g.stride, g.padding, g.dilation, g.groups)
    return x


def conv2d_weight(x: np.ndarray, grad: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Returns the weight gradient (K, C / groups, R, S) from x and grad (N, K, P, Q)."""
    w = np.empty(g.weight_shape, x.dtype)
    image, _ = padded(x, g)
    weight_loops(image, grad, w, np.empty(g.Q, x.dtype), g.stride, g.dilation, g.groups)
    return w


def kernel(dtype: np.dtype[Any]) -> Any:
    """Returns the compiled function that the time goes into."""
    return input_loops
