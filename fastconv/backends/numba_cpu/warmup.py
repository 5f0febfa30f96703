"""Warm-up compiles the kernels of common layers ahead of time: those of the networks that people train first."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.block import Activation, Block, Pooling
from fastconv.backends.chain import Gradients, Operands
from fastconv.geometry import ConvGeometry, PoolGeometry

_COMMON_CONVOLUTIONS = [
    ConvGeometry(images, C, size, size, K, kernel, kernel, (stride, stride), (kernel // 2,) * 4, groups=groups)
    for images in (1, 32, 100)
    for C, K, size, groups in (
        *((1, 32, 28, 1), (3, 64, 224, 1), (6, 16, 14, 1), (32, 64, 14, 1), (64, 64, 56, 1), (128, 128, 28, 1)),
        *((256, 256, 14, 1), (512, 512, 7, 1), (64, 256, 56, 1), (96, 96, 28, 96)),
    )
    for kernel, stride in ((1, 1), (3, 1), (3, 2), (5, 1), (7, 2))
]
_COMMON_POOLINGS = [
    PoolGeometry(1, 8, size, size, kernel, kernel, (stride, stride), (padding, padding))
    for size, kernel, stride, padding in ((28, 2, 2, 0), (28, 3, 2, 1), (28, 3, 1, 1), (7, 7, 7, 0))
]
_COMMON_BLOCKS: list[tuple[Activation, Pooling]] = [("relu", "max"), ("tanh", "avg")]


def warm(backend: Any) -> None:
    """Compile the kernels of common layers, by the backend's plans and one small call of each kind."""
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        # To make a plan compiles its micro-kernel; to run one compiles what all plans share.
        for conv in _COMMON_CONVOLUTIONS:
            for operation in ("conv2d", "conv2d_input", "conv2d_weight"):
                backend._make_plans(operation, dtype, conv)
        conv = ConvGeometry(1, 1, 3, 3, 1, 2, 2)
        x, w = np.ones(conv.input_shape, dtype), np.ones(conv.weight_shape, dtype)
        backend.conv2d_weight(x, backend.conv2d(x, w, None, conv), conv)
        backend.conv2d_input(w, w, conv)
        for pool in _COMMON_POOLINGS:
            x = np.ones(pool.input_shape, dtype)
            values, indices = backend.max_pool2d(x, pool)
            backend.max_pool2d_values(x, pool)
            backend.max_pool2d_backward(values, indices, (pool.H, pool.W))
            backend.avg_pool2d_backward(backend.avg_pool2d(x, pool), pool)
        for activation, pooling in _COMMON_BLOCKS:
            _warm_chain(backend, Block(ConvGeometry(1, 1, 5, 5, 1, 2, 2), activation, pooling), dtype)


def _warm_chain(backend: Any, block: Block, dtype: np.dtype[Any]) -> None:
    """Compile what `fastconv.torch` runs for a block: its programs for the forward and the backward pass."""
    chain = backend.chain((block,), dtype)
    if chain is None:
        return
    g = block.geometry
    x, w, b = (np.ones(shape, dtype) for shape in (g.input_shape, g.weight_shape, (g.K,)))
    result, saved = np.ones(block.result_shape, dtype), np.zeros(chain.saved_bytes, np.uint8)
    at = Operands(x, (w, b), result, saved)
    chain.forward(at)
    chain.backward(at, Gradients(result.copy(), x, (w, b)))
