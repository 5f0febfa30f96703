"""Prints what a small workload compiles: each algorithm and each pooling, forwards and backwards, once.

A first call waits for these functions, so a further one is to be a decision, not an accident.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np

import fastconv
from fastconv.backends.block import Activation, Pooling
from fastconv.backends.numba_cpu.algorithms import ALGORITHMS
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.simd import instruction_set
from fastconv.geometry import ConvGeometry, PoolGeometry
from tests.backends.snapshots.addresses import asked_for, note_compiled
from tests.backends.snapshots.blocks import OneBlock
from tests.backends.snapshots.lines import text_of
from tests.forced import image

IMAGE = image(5, 9, 11, 7, 3, 3, N=2)

_SPECIAL = {
    "matrix": ConvGeometry(5, 30, 1, 1, 7, 1, 1),
    "depthwise": image(5, 9, 11, 5, 3, 3, groups=5),
    "planes": image(16, 9, 4, 16, 3, 3, groups=16),
    "winograd(4x4,5x5)": image(5, 9, 11, 7, 5, 5, N=2),
    "winograd(4x4,7x7)": image(5, 9, 11, 7, 7, 7, N=2),
    **{f"winograd(1x4,1x{taps})": image(5, 9, 11, 7, 1, taps, N=2) for taps in (3, 5, 7)},
    **{f"winograd(4x1,{taps}x1)": image(5, 9, 11, 7, taps, 1, N=2) for taps in (3, 5, 7)},
}
"""What those algorithms are for that can't do `IMAGE`."""

POOLED = PoolGeometry(2, 3, 14, 14, 2, 2, (2, 2))

BLOCKS: dict[str, tuple[Activation, Pooling]] = {"relu_max": ("relu", "max"), "tanh_avg": ("tanh", "avg")}


def _ones(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [np.ones(shape, np.float32) for shape in shapes]


def _convolve(numba: NumbaCpu, g: ConvGeometry) -> None:
    x, w, b, y = _ones(g.input_shape, g.weight_shape, (g.K,), g.output_shape)
    numba.conv2d(x, w, b, g)
    numba.conv2d_input(y, w, g)
    numba.conv2d_weight(x, y, g)


def _block(numba: NumbaCpu, activation: Activation, pool: Pooling) -> None:
    x, w, b = _ones(IMAGE.input_shape, IMAGE.weight_shape, (IMAGE.K,))
    one = OneBlock(numba, "float32", IMAGE, activation, pool)
    one.backward(one.forward(x, w, b), x.shape, w.shape, b.shape)


def _pool(numba: NumbaCpu) -> None:
    (x,) = _ones(POOLED.input_shape)
    values, indices = numba.max_pool2d(x, POOLED)
    numba.max_pool2d_values(x, POOLED)
    numba.max_pool2d_backward(values, indices, (POOLED.H, POOLED.W))
    numba.avg_pool2d_backward(numba.avg_pool2d(x, POOLED), POOLED)


def kernels() -> dict[str, str]:
    """Returns the functions that each part of the workload is the first to need."""
    note_compiled()
    fastconv.set_num_threads(1)
    numba = NumbaCpu("noted", instruction_set.AVX2)
    found: dict[str, str] = {}

    def add(part: str) -> None:
        counts = Counter(f"{part} {name}" for name in asked_for)
        found.update({name: str(count) for name, count in counts.items()})
        found[f"{part} in all"] = str(len(asked_for))
        asked_for.clear()

    for algorithm in ALGORITHMS:
        _convolve(numba.variant(algorithm), _SPECIAL.get(algorithm, IMAGE))
        add(algorithm)
    for name, (activation, pool) in BLOCKS.items():
        _block(numba, activation, pool)
        add(name)
    _pool(numba)
    add("poolings")
    return found


if __name__ == "__main__":
    sys.stdout.write(text_of(kernels()))
