"""Convolution, activation and 2 x 2 pooling in one go, some images at a time, so that what is between stays in a cache.

A convolution's result is the largest array of such a block: 6.9 MB for 100 images of SimpleConvNet, where input and
pooled result have 0.3 and 1.7. Layer by layer it is written and read three times forwards, and its gradient four times
backwards, at the speed of memory. Here the batch goes through by *slabs* of images whose results take no more than
`SLAB_BYTES`, and the same memory serves all of them. Before max pooling nothing of that size is kept, only the indices;
ReLU's derivative and the bias's sum are then taken of the pooled gradient, a quarter as large. An average's gradient
needs the activation's results, so these are kept.

The slabs follow from the sizes alone, and the parts of the weight's gradient are added in order: the same bits for any
number of threads.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.backends.block import pairs_of
from fastconv.backends.numba_cpu import activations, buffers, channel_sums
from fastconv.backends.numba_cpu.pooling_plans import average_backward, max_backward
from fastconv.backends.numba_cpu.pooling_plans import forward as pooling
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.windows import AVERAGES, PLACES
from fastconv.backends.numba_cpu.winners_plan import winners_plan
from fastconv.geometry import ConvGeometry, PoolGeometry
from fastconv.threads import get_num_threads

SLAB_BYTES = 4 << 20
"""Of a slab's results, which stay in the L3 cache; smaller slabs pack weights more often, and gained nothing."""


@lru_cache(maxsize=512)
def _slabs(g: ConvGeometry, itemsize: int) -> tuple[tuple[slice, ConvGeometry, PoolGeometry], ...]:
    """The images of each slab, and what is done with them."""
    image = g.K * g.P * g.Q * itemsize
    # Each slab packs the weight anew and adds a gradient of its size: not for weights larger than results.
    images = max(1, SLAB_BYTES // max(1, image))
    if 4 * np.prod(g.weight_shape) * itemsize > images * image:
        images = g.N
    found = []
    for first in range(0, g.N, images):
        here = min(images, g.N - first)
        found.append((slice(first, first + here), replace(g, N=here), pairs_of(replace(g, N=here))))
    return tuple(found)


def forward(
    backend: Any,
    simd: Simd,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    g: ConvGeometry,
    activation: Any,
    pool: str,
) -> tuple[np.ndarray, np.ndarray]:
    """The pooled results, and the indices of max pooling or what was averaged; x is C-contiguous."""
    pooled = pairs_of(g)
    result = buffers.empty(pooled.output_shape, x.dtype)
    threads = get_num_threads()
    slabs = _slabs(g, simd.itemsize) if result.size else ()
    if pool == "avg":
        kept = buffers.empty(g.output_shape, x.dtype)
        for images, conv, window in slabs:
            y = backend.convolve(x[images], w, b, conv, activation, kept[images])
            pooling(simd, window, AVERAGES).run(y, result[images], None, threads)
        return result, kept
    kept = buffers.empty(pooled.output_shape, np.int64)
    for images, conv, window in slabs:
        y = backend.convolve(x[images], w, b, conv, activation, buffers.empty(conv.output_shape, x.dtype))
        pooling(simd, window, PLACES).run(y, result[images], kept[images], threads)
    return result, kept


def backward(
    backend: Any,
    simd: Simd,
    arrays: tuple[np.ndarray, ...],
    g: ConvGeometry,
    activation: Any,
    pool: str,
    wanted: tuple[bool, bool, bool],
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """The gradients of x, w and b, as far as ``wanted``.

    ``arrays`` are the gradient, x, w, and both results of `forward`, all C-contiguous.
    """
    grad, x, w, result, kept = arrays
    if not grad.size:
        # No pixel, so no sum has a term.
        shapes = g.input_shape, g.weight_shape, (g.K,)
        zeros = [np.zeros(shape, x.dtype) if want else None for shape, want in zip(shapes, wanted, strict=True)]
        return zeros[0], zeros[1], zeros[2]
    if pool == "max" and wanted[1] and not wanted[0] and backend.algorithm is None:
        found = _from_winners(simd, arrays, g, activation, wanted[2])
        if found is not None:
            return found
    for_x = buffers.empty(g.input_shape, x.dtype) if wanted[0] else None
    parts: list[np.ndarray] = []
    sums: list[np.ndarray] = []
    for images, conv, window in _slabs(g, simd.itemsize):
        part = grad[images]
        change = buffers.empty(conv.output_shape, x.dtype)
        if pool == "max":
            if activation is not None:
                target = buffers.empty(part.shape, x.dtype)
                part = activations.gradient(simd, activation, part, result[images], target)
            job = max_backward(simd, conv.N * conv.K, (conv.P, conv.Q), (window.P, window.Q))
            job.run(change, part, kept[images], get_num_threads())
        else:
            average_backward(simd, window)[0].run(change, part, None, get_num_threads())
            if activation is not None:
                change = activations.gradient(simd, activation, change, kept[images], change)
            part = change
        if wanted[2]:
            sums.append(channel_sums.channel_sum(simd, part))
        if for_x is not None:
            backend.adjoint_for_input(change, w, conv, for_x[images])
        if wanted[1]:
            parts.append(backend.conv2d_weight(x[images], change, conv))
    return for_x, _total(parts), _total(sums)


def _from_winners(
    simd: Simd, arrays: tuple[np.ndarray, ...], g: ConvGeometry, activation: Any, bias_wanted: bool
) -> tuple[None, np.ndarray, np.ndarray | None] | None:
    """The gradients of w and b where x needs none, as in a network's first block; None where that can't be done."""
    grad, x, _, result, kept = arrays
    plan = winners_plan(simd, g)
    if plan is None:
        return None
    if activation is not None:
        grad = activations.gradient(simd, activation, grad, result, buffers.empty(grad.shape, x.dtype))
    weight = buffers.empty(g.weight_shape, x.dtype)
    if not plan.weight_gradient(x, grad, kept, weight):
        return None
    return None, weight, channel_sums.channel_sum(simd, grad) if bias_wanted else None


def _total(parts: list[np.ndarray]) -> np.ndarray | None:
    """The sum of the slabs' parts, in order; None where there are none."""
    if not parts:
        return None
    with np.errstate(all="ignore"):
        for part in parts[1:]:
            parts[0] += part
    return parts[0]
