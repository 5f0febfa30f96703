"""These tests compare what the backend `numba` plans, computes and compiles with snapshots (snapshots/__init__.py)."""

from __future__ import annotations

import pytest

from fastconv.backends.numba_cpu.simd import Simd
from tests.backends.snapshots import results
from tests.backends.snapshots.lines import assert_unchanged, in_a_child, parsed, stored, text_of
from tests.backends.snapshots.simds import SIMDS


@pytest.mark.parametrize("snapshot", ["plans", "kernels"])
def test_what_is_planned_and_compiled_stays_the_same(snapshot: str) -> None:
    assert_unchanged(stored(snapshot), in_a_child(snapshot))


@pytest.mark.parametrize("algorithm", results.ALGORITHMS)
@pytest.mark.parametrize("simd", SIMDS, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def test_results_keep_their_bits(simd: Simd, algorithm: str) -> None:
    start = results.prefix(simd, algorithm)
    expected = {name: value for name, value in stored("results").items() if name.startswith(start)}
    assert_unchanged(expected, results.results(simd, algorithm))


def test_a_message_names_what_changed_and_how() -> None:
    before = {"a conv2d": "gemm steps=3 tasks=4", "b": "1"}
    assert parsed(text_of(before)) == before
    assert_unchanged(before, dict(before))
    with pytest.raises(
        AssertionError, match=r"2 of 2 values(.|\n)*a conv2d\n    gemm -> direct; tasks=4 -> tasks=5\nb\n    is gone: 1"
    ):
        assert_unchanged(before, {"a conv2d": "direct steps=3 tasks=5"})
