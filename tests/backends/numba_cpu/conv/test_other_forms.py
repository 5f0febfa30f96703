"""These tests take the forms of 5 x 5 and 7 x 7 taps, and of lines, around the edges of patches, chunks and tiles.

Their transforms have thirds, which round, so results are whole numbers but for rounding. What the forms have in common
with those of 3 x 3 taps is in test_winograd.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fastconv.backends.numba_cpu import planner
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.conv.winograd.forms.form import FORMS, Form
from fastconv.backends.numba_cpu.conv.winograd.plan import GENERAL
from fastconv.backends.numba_cpu.gemm.micro_kernel import most_rows
from fastconv.backends.numba_cpu.lowering import jobs
from fastconv.backends.numba_cpu.simd import Simd, instruction_set
from fastconv.geometry import ConvGeometry
from tests.backends.numba_cpu.conv.test_winograd import assert_error_is_small, assert_order, costs, forced, order
from tests.forced import FORCED, assert_all_exact, assert_same_bits, assert_special_values_travel, image

__all__ = ["order"]

OTHERS = [form for form in FORMS if form not in GENERAL]

_FEW = (FORCED[0], FORCED[-1])
"""The most lanes and the fewest, with and without masks; each instruction set takes a minute of compiling."""


def _short(form: Form) -> bool:
    """Return True for a line of 3 or 5 taps: their axes are those of other forms."""
    return max(form.down.taps, form.right.taps) < 7 and 1 in (form.down.taps, form.right.taps)


def _named(simd: Simd) -> str:
    return f"{simd.instructions.name}-{simd.dtype}"


@pytest.fixture(
    params=[pytest.param(simd, marks=() if simd in _FEW else pytest.mark.long) for simd in FORCED], ids=_named
)
def simd(request: pytest.FixtureRequest) -> Simd:
    return request.param


@pytest.fixture(params=[pytest.param(form, marks=pytest.mark.long if _short(form) else ()) for form in OTHERS], ids=str)
def form(request: pytest.FixtureRequest) -> Form:
    return request.param


@pytest.fixture
def winograd(simd: Simd, form: Form) -> NumbaCpu:
    return forced(form, simd)


def of(form: Form, C: int, H: int, W: int, K: int, N: int = 1, **rest: Any) -> ConvGeometry:
    """Return a geometry with the kernel that a form is for."""
    return image(C, H, W, K, form.down.taps, form.right.taps, N, **rest)


def test_every_remainder_of_patches_and_channels(winograd: NumbaCpu, simd: Simd, form: Form) -> None:
    """Rows of patches end in all lanes, images in all rows of a tile; blocks of patches begin and end within rows."""
    lanes, most = simd.lanes, 2 * most_rows(simd.instructions) + 1
    widths = {form.right.output * lanes * count + off for count in (1, 2) for off in range(-3, 4)} - {-1, 0}
    some = [of(form, 2, 8, width, 3) for width in sorted(widths)]
    some += [of(form, 3, size, size + 1, 5, N=3) for size in range(7, 14)]
    some += [of(form, count, 9, 8, most + 1 - count, N=2) for count in range(1, most + 1, 3)]
    some += [of(form, lanes + off, 9, 11, 7) for off in (-1, 0, 1)]
    assert_all_exact(winograd, some, simd, rounds=True)


def test_paddings_groups_and_reductions(winograd: NumbaCpu, simd: Simd, form: Form) -> None:
    """There are passes over channels and over patches, and blocks of channels both ways."""
    steps, most = costs(form).steps, costs(form).channels
    across = form.right.output * costs(form).patches + 1
    some = [of(form, 3, 12, 13, 4, N=2, padding=sides) for sides in ((0,) * 4, (4,) * 4, (6, 0, 0, 6), (0, 3, 7, 1))]
    some += [of(form, 4, 9, 10, 6, N=2, groups=2), of(form, 3, 9, 40, 3, groups=3), of(form, 2, 8, across, 3)]
    some += [of(form, steps + off, 8, 8, 2) for off in (-1, 1, steps)]
    some += [of(form, most + 5, 8, 9, 7), of(form, 7, 8, 9, most + 5), of(form, 9, 30, 30, 10, N=4)]
    assert_all_exact(winograd, some, simd, rounds=True)


def test_smaller_and_larger_kernels(winograd: NumbaCpu, simd: Simd, form: Form) -> None:
    """A kernel has fewer taps than the form, or several pieces; a form refuses if another needs fewer products."""
    done = 0
    for R in (1, 2, 4, 5, 7, 9, 14):
        for S in (1, 2, 4, 5, 7, 9, 14):
            g = image(3, 14, 15, 4, R, S, N=2)
            if winograd.refuses("conv2d", g, simd.dtype):
                others = [each.products_for((R, S)) for each in FORMS if each != form]
                assert form.products_for((R, S)) > min(*others, R * S - 1)
                continue
            assert_all_exact(winograd, [g], simd, rounds=True)
            done += 1
    assert done
    for side in (1, 3):
        assert winograd.refuses("conv2d", image(3, 9, 9, 4, side, side), simd.dtype)


def test_dilated_kernels(winograd: NumbaCpu, simd: Simd, form: Form) -> None:
    some = [of(form, 3, 19, 23, 4, N=2, padding=(6,) * 4, dilation=(2, 3)), of(form, 2, 15, 28, 3, dilation=(1, 2))]
    assert_all_exact(winograd, some, simd, rounds=True)


@pytest.mark.parametrize("simd", _FEW, ids=_named)
def test_patches_or_weight_first(winograd: NumbaCpu, simd: Simd, form: Form, order: str) -> None:
    some = [of(form, 3, 13, 30, 5, N=3), of(form, costs(form).steps + 3, 9, 13, 70), of(form, 4, 57, 61, 33)]
    assert_all_exact(winograd, some, simd, rounds=True)
    for g in some:
        assert_order(winograd, simd, g, order)
    for value in (np.nan, np.inf, 3e38):
        assert_special_values_travel(winograd, of(form, 3, 9, 10, 5, N=2), simd, value)


@pytest.mark.parametrize("simd", _FEW, ids=_named)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_numbers_that_spread_over_a_patch_do_not(value: float, winograd: NumbaCpu, simd: Simd, form: Form) -> None:
    if np.isfinite(value) and 1 in (form.down.taps, form.right.taps):
        pytest.skip("along one axis a large number is only added to small ones, and nothing overflows")
    assert_special_values_travel(winograd, of(form, 3, 13, 14, 5, N=2, padding=(3, 2, 1, 0)), simd, value)


def test_same_bits_for_any_number_of_threads(form: Form) -> None:
    for g in (of(form, 24, 30, 29, 40, N=3), of(form, 130, 9, 8, 70)):
        assert_same_bits(forced(form), g, "float32")


def _problems(form: Form) -> Iterator[ConvGeometry]:
    for C, size, K, N in ((3, 32, 16, 2), (8, 40, 8, 2), (64, 28, 64, 1), (512, 14, 32, 1), (32, 14, 512, 1)):
        yield of(form, C, size, size, K, N=N)
    yield of(form, 2048, 8, 8, 16)


@pytest.mark.parametrize("kind", ["both_signs", "relu", "positive"])
def test_rms_error_is_at_most_twice_torchs(kind: str, form: Form) -> None:
    for g in _problems(form):
        assert_error_is_small(forced(form), g, kind)


def test_the_planner_takes_the_form_of_a_kernel() -> None:
    simd = Simd(instruction_set.AVX512, "float32")
    for form in OTHERS:
        for operation in ("conv2d", "conv2d_input", "conv2d_weight"):
            (job,), _ = jobs(operation, of(form, 96, 28, 28, 96, N=2))
            best = planner.choose(simd, job.problem, None, weight=job.along_rows)
            assert best is not None
            assert best.algorithm == f"winograd({form})", operation
