"""The cache that is bounded in bytes, and that the library's own caches stay within bounds."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import torch

from fastconv import ConvGeometry, PoolGeometry, arguments
from fastconv.backends.kept import Kept
from fastconv.backends.numba_cpu.backend import PLANS_BYTES, NumbaCpu
from fastconv.backends.numba_cpu.fused import chain
from fastconv.backends.numba_cpu.pooling import plan as pooling_plans
from fastconv.backends.numba_cpu.simd import Simd, instruction_set
from fastconv.torch import chains, sequential
from fastconv.torch import functional as ours
from tests.probes import needs_fast_way


def test_as_many_bytes_as_allowed_at_most() -> None:
    kept = Kept(bytes, len, 100)
    for size in (10, 20, 30, 40, 50, 60, 5, 70, 1, 2, 3):
        assert len(kept(size)) == size
        # An entry of more than half of all has a generation of its own.
        assert kept.kept_bytes <= 2 * max(50, 70)
    assert kept.kept_bytes <= 100


def test_what_is_used_stays() -> None:
    made: list[int] = []

    def make(key: int) -> int:
        made.append(key)
        return key

    kept = Kept(make, lambda _: 10, 100)
    for key in range(1, 50):
        assert kept(-1) == -1
        assert kept(key) == key
    assert made.count(-1) == 1
    assert kept(1) == 1
    assert made.count(1) == 2
    kept.cache_clear()
    assert (kept(-1), made.count(-1), kept.kept_bytes) == (-1, 2, 10)


def test_a_network_at_many_sizes_fits() -> None:
    """As many layers as DenseNet-201 has, forwards and backwards, at eight sizes in turn."""
    numba = NumbaCpu()
    # Tables grow with channels and taps: 512 channels and 9 taps are more than most of its layers have.
    numba._plans("conv2d", np.dtype(np.float32), ConvGeometry(1, 512, 14, 14, 8, 3, 3))
    assert 0 < numba._plans.kept_bytes * 8 * 3 * 200 < PLANS_BYTES / 2
    layers = 8 * 200
    for cache in (chains._chain, arguments.conv_geometry, arguments.pool_geometry):
        assert cache.cache_parameters()["maxsize"] > layers
    # For a layer, whatever its size.
    assert sequential._convolution_stage.cache_parameters()["maxsize"] > 200


def test_exact_plans_go_with_their_plans() -> None:
    numba = NumbaCpu(algorithm="winograd")
    plans, _, _ = numba._plans("conv2d", np.dtype(np.float32), ConvGeometry(1, 3, 8, 8, 4, 3, 3))
    exact = plans[0].exact()
    assert plans[0].exact() is exact
    seen = weakref.ref(exact)
    del plans, exact
    numba._plans.cache_clear()
    gc.collect()
    assert seen() is None


def test_divisors_are_kept_as_two_vectors() -> None:
    pooling_plans._average_backward.cache_clear()
    simd = Simd(instruction_set.chosen(), "float32")
    for size in range(500, 520):
        _, before = pooling_plans.average_backward(simd, PoolGeometry(1, 1, size, size, 3, 3, (1, 1), (1, 1)))
        assert before is not None
    assert pooling_plans._average_backward.kept_bytes < 20 * 20_000


@needs_fast_way
def test_programs_hold_no_memory_for_their_runs() -> None:
    chain._programs.cache_clear()
    x = torch.randn(2, 3, 256, 256, requires_grad=True)
    w = torch.randn(4, 3, 3, 3, requires_grad=True)
    ours.conv2d(x, w, padding=1, backend="numba").sum().backward()
    programs = list(chain._programs._young.values())
    assert len(programs) == 2
    for program in programs:
        assert program.nbytes < 100_000 < program.memory
    assert chain._programs.kept_bytes == sum(program.nbytes for program in programs)
