"""Warm-up compiles the kernels of common layers ahead of time: those of the networks that people train first."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.block import Activation, Block, Pooling
from fastconv.backends.chain import Gradients, Operands
from fastconv.backends.numba_cpu.calls import entry, planned, tensors
from fastconv.backends.numba_cpu.runtime import host_team, thread_pool
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
_Network = tuple[Activation, Pooling, list[tuple[int, int, int, int, int]], list[tuple[int, int, int]]]
_DIGITS: list[_Network] = [
    ("tanh", "avg", [(1, 6, 28, 5, 2), (6, 16, 14, 5, 0)], [(16, 120, 5), (120, 84, 1), (84, 10, 1)]),
    ("relu", "max", [(1, 30, 28, 5, 0)], [(30, 100, 12), (100, 10, 1)]),
    ("relu", "max", [(1, 32, 28, 3, 1), (32, 64, 14, 3, 1)], [(64, 10, 7)]),
]
"""Networks for digits: the activation and the pooling, the channels, filters, size, kernel and padding of each
convolution, and the channels, filters and size of each dense layer behind them, whose kernel covers the image."""
_BATCHES = (1, 37, 60, 100)
"""Images at a time: one, a batch of the recipes, and the last batches of scikit-learn's 1,437 and 360 digits."""


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
            _warm_chain(backend, (Block(ConvGeometry(1, 1, 5, 5, 1, 2, 2), activation, pooling),), dtype)
    for network in _DIGITS:
        _warm_network(backend, network)
    for call in (entry.known_call, tensors.known_call, planned.planned_call):
        call()
    _warm_threads()


def warm_lenet(backend: Any) -> None:
    """Compile the kernels that LeNet-5 is trained and tested with, and no others."""
    _warm_network(backend, _DIGITS[0])
    _warm_threads()


def _warm_threads() -> None:
    """Compile what starts, joins and ends the threads of both pools, fastconv's and torch's."""
    for address in (host_team.member_address, thread_pool.help_along.address, thread_pool.wake_up.address):
        address()


def _warm_network(backend: Any, network: _Network) -> None:
    """Compile the kernels of a network for digits, for the batches that it is trained and tested with."""
    activation, pooling, layers, dense = network
    for images in _BATCHES:
        pooled = [ConvGeometry(images, C, H, H, K, R, R, padding=(P,) * 4) for C, K, H, R, P in layers]
        covered = [ConvGeometry(images, C, H, H, K, H, H) for C, K, H in dense]
        hidden = [Block(geometry, activation, None) for geometry in covered[:-1]]
        blocks = (
            *[Block(geometry, activation, pooling) for geometry in pooled],
            *hidden,
            Block(covered[-1], None, None),
        )
        _warm_chain(backend, blocks, np.dtype(np.float32))


def _warm_chain(backend: Any, blocks: tuple[Block, ...], dtype: np.dtype[Any]) -> None:
    """Compile what `fastconv.torch` runs for some blocks: their programs for the forward and the backward pass."""
    chain = backend.chain(blocks, dtype)
    if chain is None:
        return
    x = np.ones(blocks[0].geometry.input_shape, dtype)
    shapes = [shape for block in blocks for shape in (block.geometry.weight_shape, (block.geometry.K,))]
    parameters = [np.ones(shape, dtype) for shape in shapes]
    result, saved = np.ones(blocks[-1].result_shape, dtype), np.zeros(chain.saved_bytes, np.uint8)
    at = Operands(x, parameters, result, saved)
    chain.forward(at)
    chain.backward(at, Gradients(result.copy(), None, parameters))
    chain.backward(at, Gradients(result.copy(), x, parameters))
