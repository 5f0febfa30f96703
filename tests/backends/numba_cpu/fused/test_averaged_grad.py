"""These tests compare the gradient through average pooling and an activation with the separate passes, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends.numba_cpu.fused import averaged_grad, post_op
from fastconv.backends.numba_cpu.runtime.program import ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd
from tests.forced import FORCED

SIZES = [(1, 2, 2), (3, 2, 3), (5, 9, 5), (600, 28, 28), (40, 31, 33), (7, 5, 98), (2, 130, 64)]


@pytest.mark.parametrize("simd", FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_it_gives_the_bits_of_separate_passes(simd: Simd, activation: str) -> None:
    rng = np.random.default_rng(3)
    for planes, P, Q in SIZES:
        shape = planes, P, Q
        grad, saved = (rng.normal(size=size).astype(simd.dtype) for size in ((planes, P // 2, Q // 2), shape))
        whole = np.zeros(shape, simd.dtype)
        whole[:, : P // 2 * 2, : Q // 2 * 2] = (grad / 4).repeat(2, axis=1).repeat(2, axis=2)
        expected, found = np.full(shape, np.nan, simd.dtype), np.full(shape, np.nan, simd.dtype)
        sums = np.full(planes, np.nan, simd.dtype)

        program = ProgramBuilder()
        post_op.record_gradient(program, simd, activation, *(program.operand() for _ in range(3)), whole.size)
        program.finish().run((whole, saved, expected))

        program = ProgramBuilder()
        places = [program.operand() for _ in range(4)]
        averaged_grad.record(program, simd, activation, *places[:3], planes, (P, Q), places[3])
        program.finish().run((grad, saved, found, sums))

        np.testing.assert_array_equal(found, expected, f"{shape}")
        units = np.abs(expected).sum((1, 2)) * np.finfo(simd.dtype).eps * 8
        assert (np.abs(sums - expected.sum((1, 2), dtype=np.float64)) <= units).all(), shape
