"""Hashes of what each algorithm makes of random numbers, on each instruction set.

That results are right, tests/forced.py shows with whole numbers, for every remainder of rows, lanes and channels. Whole
numbers have the same sum in any order; random ones don't, so these hashes change with the order of a sum, a fused
multiplication, a constant of a transform, or the number of steps in one go. A sum's terms come in the order in which
the code has them, so the bits are the same on all processors, and for any number of threads.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections.abc import Iterator

import numpy as np

from fastconv.backends.block import Activation, Pooling
from fastconv.backends.numba_cpu import algorithms
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry, PoolGeometry
from tests.backends.snapshots.blocks import OneBlock
from tests.backends.snapshots.lines import text_of
from tests.backends.snapshots.simds import SIMDS
from tests.forced import image

CONVOLUTIONS = {
    "rows_and_lanes": image(7, 9, 11, 19, 3, 3, N=3),
    "strided": image(5, 11, 13, 9, 3, 3, N=2, stride=(2, 2)),
    "dilated": image(4, 9, 11, 6, 3, 3, N=2, dilation=(2, 1), padding=(2, 2, 1, 1)),
    "groups": image(6, 8, 9, 10, 3, 3, N=2, groups=2),
    "5x5": image(3, 20, 20, 4, 5, 5, N=6),
    "deep": image(70, 4, 5, 7, 3, 3),
    "pointwise": image(421, 3, 7, 18, 1, 1, N=2),
    "dense": ConvGeometry(5, 421, 1, 1, 19, 1, 1),
    "covers_the_image": ConvGeometry(4, 3, 5, 7, 6, 5, 7),
    "depthwise": image(5, 9, 21, 5, 3, 3, N=2, groups=5),
    "small_planes": image(37, 7, 6, 37, 3, 3, N=2, groups=37),
    "multiplier_strided": image(3, 9, 21, 6, 5, 5, N=2, groups=3, stride=(2, 2)),
    "many_images": image(2, 6, 7, 5, 3, 3, N=19),
}
"""Remainders in rows, lanes, channels, images and steps of the reduction; each algorithm does those that it is for."""

ROUTES = {
    "in_parts": image(64, 28, 28, 8, 3, 3, padding=(24, 24, 24, 24), dilation=(24, 24)),
    "by_columns": ConvGeometry(1, 256, 8, 8, 512, 4, 4, (2, 2), (1, 1, 1, 1)),
}
"""Convolutions that the planner takes apart."""

BLOCKS: dict[str, tuple[ConvGeometry, Activation | None, Pooling | None]] = {
    "relu_max": (image(3, 11, 14, 7, 3, 3, N=3), "relu", "max"),
    "relu_max_of_strips": (ConvGeometry(20, 1, 28, 28, 6, 5, 5), "relu", "max"),
    "relu_max_of_planes": (ConvGeometry(3, 10, 12, 12, 20, 5, 5), "relu", "max"),
    "tanh_avg": (image(3, 11, 14, 7, 3, 3, N=3), "tanh", "avg"),
}

POOLINGS = {
    "2x2": PoolGeometry(2, 3, 14, 38, 2, 2, (2, 2)),
    "3x3_strided": PoolGeometry(2, 3, 13, 37, 3, 3, (2, 2), (1, 1)),
    "3x3": PoolGeometry(2, 3, 9, 37, 3, 3, (1, 1), (1, 1)),
    "wide": PoolGeometry(1, 2, 11, 40, 5, 17, (3, 7), (2, 3)),
    "whole": PoolGeometry(2, 3, 7, 7, 7, 7, (7, 7)),
    "dilated": PoolGeometry(1, 2, 15, 37, 3, 2, (2, 1), (1, 1), (2, 3)),
}

ALGORITHMS = (*algorithms.ALGORITHMS, "planned", "poolings")
"""What hashes are grouped by: those of one algorithm each, of what the planner chooses, and of poolings."""


def _hash(*arrays: np.ndarray | None) -> str:
    found = hashlib.sha256()
    for array in arrays:
        if array is not None:
            found.update(array.tobytes())
    return found.hexdigest()[:16]


def _random(dtype: str, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Returns numbers between -1 and 1; NumPy promises the same integers for a seed in all its versions."""
    source = np.random.Generator(np.random.PCG64(20))
    return [(source.integers(-(2**23), 2**23, shape) / 2.0**23).astype(dtype) for shape in shapes]


def _convolution(numba: NumbaCpu, g: ConvGeometry, dtype: str) -> Iterator[tuple[str, str]]:
    x, w, b, grad = _random(dtype, g.input_shape, g.weight_shape, (g.K,), g.output_shape)
    results = {
        "conv2d": lambda: numba.conv2d(x, w, b, g),
        "conv2d_input": lambda: numba.conv2d_input(grad, w, g),
        "conv2d_weight": lambda: numba.conv2d_weight(x, grad, g),
    }
    for operation, result in results.items():
        if not numba.refuses(operation, g, dtype):
            yield operation, _hash(result())


def _block(
    numba: NumbaCpu, block: tuple[ConvGeometry, Activation | None, Pooling | None], dtype: str
) -> Iterator[tuple[str, str]]:
    g = block[0]
    x, w, b = _random(dtype, g.input_shape, g.weight_shape, (g.K,))
    one = OneBlock(numba, dtype, *block)
    result = one.forward(x, w, b)
    yield "forward", _hash(result)
    (grad,) = _random(dtype, result.shape)
    yield "backward", _hash(*one.backward(grad, x.shape, w.shape, b.shape))


def _pooling(numba: NumbaCpu, g: PoolGeometry, dtype: str) -> Iterator[tuple[str, str]]:
    x, grad = _random(dtype, g.input_shape, g.output_shape)
    values, indices = numba.max_pool2d(x, g)
    yield "max_pool2d", _hash(values, indices)
    yield "max_pool2d_values", _hash(numba.max_pool2d_values(x, g))
    yield "max_pool2d_backward", _hash(numba.max_pool2d_backward(grad, indices, (g.H, g.W)))
    if g.dilation == (1, 1):
        yield "avg_pool2d", _hash(numba.avg_pool2d(x, g))
        yield "avg_pool2d_backward", _hash(numba.avg_pool2d_backward(grad, g))


def _named(simd: Simd, algorithm: str) -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    numba, dtype = NumbaCpu("hashed", simd.instructions), simd.dtype
    if algorithm == "poolings":
        yield from ((name, _pooling(numba, pool, dtype)) for name, pool in POOLINGS.items())
        (grad,) = _random(dtype, (3, 5, 9, 31))
        yield "bias", iter([("channel_sum", _hash(numba.channel_sum(grad)))])
    elif algorithm == "planned":
        yield from ((name, _convolution(numba, g, dtype)) for name, g in ROUTES.items())
        yield from ((name, _block(numba, block, dtype)) for name, block in BLOCKS.items())
    else:
        numba = numba.variant(algorithm)
        yield from ((name, _convolution(numba, g, dtype)) for name, g in CONVOLUTIONS.items())


def results(simd: Simd, algorithm: str) -> dict[str, str]:
    """Returns the hashes of one of `ALGORITHMS` by their names, which begin with `prefix`."""
    return {
        f"{prefix(simd, algorithm)}{name} {operation}": found
        for name, hashes in _named(simd, algorithm)
        for operation, found in hashes
    }


def prefix(simd: Simd, algorithm: str) -> str:
    """Returns what an instruction set, a type and an algorithm are called in names."""
    return f"{simd.instructions.name} {simd.dtype} {algorithm} "


def all_results() -> dict[str, str]:
    """Returns the hashes of all algorithms on all instruction sets."""
    return {
        name: found
        for simd, algorithm in itertools.product(SIMDS, ALGORITHMS)
        for name, found in results(simd, algorithm).items()
    }


if __name__ == "__main__":
    sys.stdout.write(text_of(all_results()))
