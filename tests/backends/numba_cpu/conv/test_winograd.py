"""These tests take Winograd's algorithm, by forms of 3 x 3 taps, around every edge of its patches, chunks and tiles.

They also bound its error, and see that its fallback is taken. Forms of other taps are in test_other_forms.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fastconv.backends.numba_cpu import planner
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.conv.phases import tiling as phases
from fastconv.backends.numba_cpu.conv.winograd import tiling as winograd_tiles
from fastconv.backends.numba_cpu.conv.winograd.forms.form import Form
from fastconv.backends.numba_cpu.conv.winograd.plan import (
    GENERAL,
    WinogradConvolution,
    WinogradWeightGradient,
    form_simd,
)
from fastconv.backends.numba_cpu.gemm.micro_kernel import most_rows
from fastconv.backends.numba_cpu.gemm.tile_search import Ranked
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd, instruction_set
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.backends.numba_cpu.tuning.cost_model import FormCosts
from fastconv.geometry import ConvGeometry
from tests.forced import FORCED, assert_all_exact, assert_same_bits, assert_special_values_travel, image


@pytest.fixture(params=FORCED, ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def simd(request: pytest.FixtureRequest) -> Simd:
    return request.param


@pytest.fixture(params=GENERAL, ids=str)
def form(request: pytest.FixtureRequest) -> Form:
    return request.param


@pytest.fixture
def winograd(simd: Simd, form: Form) -> NumbaCpu:
    return forced(form, simd)


def forced(form: Form, simd: Simd | None = None) -> NumbaCpu:
    """Return the backend that uses one form only."""
    return NumbaCpu("forced", None if simd is None else simd.instructions, f"winograd({form})")


def costs(form: Form) -> FormCosts:
    """Return what the form's tilings are made from."""
    return winograd_tiles.costs(form_simd(FORCED[0], form))


@pytest.fixture(params=["patches_first", "weight_first"])
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What is transformed first, whatever it costs."""
    genuine = winograd_tiles._Sizes.cost

    def cost(self: winograd_tiles._Sizes, tile: Ranked, patches_first: bool) -> float:
        wanted = patches_first == (request.param == "patches_first")
        return genuine(self, tile, patches_first) + (0 if wanted else 1e15)

    monkeypatch.setattr(winograd_tiles._Sizes, "cost", cost)
    winograd_tiles.winograd_tiling.cache_clear()
    yield request.param
    winograd_tiles.winograd_tiling.cache_clear()


def assert_order(winograd: NumbaCpu, simd: Simd, g: ConvGeometry, order: str) -> None:
    """Raise an error if a forward pass transforms something else first."""
    plans, _, _ = winograd._plans("conv2d", np.dtype(simd.dtype), g)
    assert plans[0].cut.patches_first == (order == "patches_first")


def square(C: int, H: int, W: int, K: int, N: int = 1, padding: tuple[int, ...] = (1, 1, 1, 1), groups: int = 1) -> Any:
    """Return a geometry with a kernel of 3 x 3."""
    return image(C, H, W, K, 3, 3, N, padding=padding, groups=groups)


def test_every_remainder_of_channels(winograd: NumbaCpu, simd: Simd) -> None:
    """Channels leave every remainder of a tile's rows in both directions, and of vectors of channels."""
    most = 2 * most_rows(simd.instructions) + 1
    assert_all_exact(winograd, (square(count, 4, 5, most + 1 - count) for count in range(1, most + 1)), simd)
    around = {simd.lanes * count + off for count in range(1, 7) for off in (-1, 1)}
    assert_all_exact(winograd, (square(count, 4, 3, 3) for count in sorted(around)[::2]), simd)


def test_every_remainder_of_patches(winograd: NumbaCpu, simd: Simd, form: Form) -> None:
    """Rows of patches have lengths around each multiple of a vector; blocks of patches begin and end within rows."""
    side = form.right.output
    widths = {side * simd.lanes * count + off for count in (1, 2, 4) for off in range(-side, side + 2)}
    assert_all_exact(winograd, (square(2, 4, width, 3) for width in sorted(widths)[:: side // 2]), simd)
    assert_all_exact(winograd, (square(1, 5, 7, 2, N=count) for count in (2, 3, 5, 9, 17)), simd)
    assert_all_exact(winograd, (square(3, size, size, 5, N=3) for size in range(4, 16)), simd)


def test_remainders_of_the_reductions(winograd: NumbaCpu, simd: Simd, form: Form) -> None:
    """Reductions over channels, and over the patches of the batch, have lengths around multiples of a pass."""
    steps, patches = costs(form).steps, costs(form).patches
    assert_all_exact(winograd, (square(steps + off, 4, 4, 2) for off in (-1, 0, 1, steps, steps + 1)), simd)
    assert_all_exact(
        winograd, (square(2, 4, form.right.output * (patches + off), 3) for off in (-1, 0, 1, patches)), simd
    )


def test_blocks_of_channels_in_both_directions(winograd: NumbaCpu, simd: Simd, form: Form) -> None:
    """The weight gradient takes channels in several blocks, with and without parts of the patches."""
    most = costs(form).channels
    assert_all_exact(winograd, [square(most + 5, 4, 5, 7), square(7, 4, 5, most + 5), square(150, 6, 6, 140)], simd)
    assert_all_exact(winograd, [square(9, 30, 30, 10, N=4)], simd)


@pytest.mark.parametrize("simd", FORCED[:1] + FORCED[-1:], ids=lambda simd: f"{simd.instructions.name}-{simd.dtype}")
def test_patches_or_weight_first(winograd: NumbaCpu, simd: Simd, form: Form, order: str) -> None:
    """Both orders compute blocks of tiles and of panels, passes, pieces and groups; both see numbers that spread."""
    some = [square(1, 1, 1, 1), square(3, 13, 30, 5, N=3), square(costs(form).steps + 3, 9, 13, 70)]
    some += [image(5, 9, 11, 6, 5, 4, N=2), square(6, 9, 13, 10, N=2, groups=2), square(4, 57, 61, 33, N=2)]
    some += [square(9, 6, 9, 20 * most_rows(simd.instructions))]
    assert_all_exact(winograd, some, simd)
    for g in some:
        assert_order(winograd, simd, g, order)
    for value in (np.nan, np.inf, 3e38):
        assert_special_values_travel(winograd, square(3, 9, 10, 5, N=2), simd, value)


@pytest.mark.parametrize("g", [square(24, 30, 29, 40, N=3), square(130, 8, 8, 70), image(9, 20, 21, 12, 5, 5)], ids=str)
def test_the_order_changes_no_bit(g: ConvGeometry, form: Form, order: str, dtype: str) -> None:
    """Both orders add up the same products in the same order; and any number of threads does."""
    winograd, simd = forced(form), Simd(instruction_set.chosen(), dtype)
    assert_order(winograd, simd, g, order)
    assert_same_bits(winograd, g, dtype)
    rng = np.random.default_rng(3)
    x, w = (rng.standard_normal(shape).astype(dtype) for shape in (g.input_shape, g.weight_shape))
    key = g, form, dtype
    assert (_OTHER_ORDER.setdefault(key, winograd.conv2d(x, w, None, g)) == winograd.conv2d(x, w, None, g)).all()


_OTHER_ORDER: dict[object, np.ndarray] = {}
"""Results in the order that was tried first."""


def test_paddings_and_groups(winograd: NumbaCpu, simd: Simd) -> None:
    some = [
        square(3, 6, 7, 4, N=2, padding=sides) for sides in ((0,) * 4, (2,) * 4, (4,) * 4, (1, 0, 0, 1), (0, 3, 4, 1))
    ]
    some += [square(4, 6, 7, 6, N=2, groups=2), square(5, 9, 8, 5, groups=5), square(3, 4, 40, 3, groups=3)]
    assert_all_exact(winograd, some, simd)


def test_pieces_of_other_kernels(winograd: NumbaCpu, simd: Simd, form: Form) -> None:
    """Kernels have one tap to three pieces a side; channels and target channels take several blocks and panels."""
    sizes = [(1, 1), (2, 2), (1, 7), (7, 1), (2, 4), (4, 3), (5, 5), (6, 3), (7, 7)]
    assert_all_exact(winograd, (image(3, 9, 11, 4, R, S, N=2) for R, S in sizes), simd)
    assert_all_exact(winograd, (image(35, 8, 9, 17, R, S) for R, S in ((5, 5), (2, 7))), simd)
    assert_all_exact(winograd, [image(4, 9, 11, 6, 5, 4, groups=2, padding=(0, 2, 3, 1))], simd)
    most = costs(form).channels
    assert_all_exact(winograd, [image(most + 5, 5, 6, 7, 4, 5), image(3, 20, 20, 4, 5, 5, N=6)], simd)


def test_dilated_kernels_by_phases(winograd: NumbaCpu, simd: Simd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phases have all remainders of rows and columns, with padding on any side, alone or some images at a time."""
    lanes = simd.lanes
    some = [image(5, 9, 11, 6, 3, 3, N=3, padding=(2,) * 4, dilation=(2, 2))]
    some += [image(3, 7, 4 * lanes + off, 4, 3, 3, padding=(0, 1, 2, 3), dilation=(1, 2)) for off in (-2, 1)]
    some += [image(5, 20, 13, 6, 3, 3, N=2, padding=(2, 3, 1, 0), dilation=(4, 2))]
    some += [image(6, 9, 11, 6, 3, 3, N=2, groups=2, padding=(0,) * 4, dilation=(1, 3))]
    some += [image(6, 19, 11, 6, 5, 2, N=2, groups=2, padding=(7, 9, 0, 3), dilation=(3, 5))]
    some += [image(2, 9, 8, 3, 3, 3, padding=(6,) * 4, dilation=(6, 6))]
    assert_all_exact(winograd, some, simd)
    monkeypatch.setattr(phases, "CPU", replace(CPU, routes=replace(CPU.routes, columns_bytes=1)))
    alone = NumbaCpu("forced", simd.instructions, winograd.algorithm)
    assert_all_exact(alone, [some[0], some[-2]], simd)
    for value in (np.nan, np.inf, 3e38):
        assert_special_values_travel(
            alone, image(3, 7, 8, 5, 3, 3, N=2, padding=(0, 2, 1, 3), dilation=(2, 3)), simd, value
        )


def test_images_too_large_for_a_copy_take_no_phases() -> None:
    g = image(64, 600, 600, 64, 3, 3, padding=(2,) * 4, dilation=(2, 2))
    assert "without stride" in str(NumbaCpu(algorithm="winograd").refuses("conv2d", g, "float32"))


def test_it_runs_where_it_is_asked_for_and_only_there(winograd: NumbaCpu, simd: Simd, form: Form) -> None:
    """All three primitives use the algorithm when it is asked for, and refuse the problems that it can't do."""
    kinds = set()
    for operation in ("conv2d", "conv2d_input", "conv2d_weight"):
        kinds |= {type(each) for each in winograd._plans(operation, np.dtype(simd.dtype), square(8, 9, 9, 8))[0]}
        for g in (
            ConvGeometry(1, 1, 9, 9, 1, 3, 3, stride=(1, 2)),
            ConvGeometry(1, 1, 9, 9, 1, 3, 3, stride=(2, 1), dilation=(1, 2)),
            ConvGeometry(1, 1, 9, 9, 1, 6, 6, stride=(2, 2)),
        ):
            assert "without stride" in str(winograd.refuses(operation, g, simd.dtype))
    assert {kind.__base__ for kind in kinds} == {WinogradConvolution, WinogradWeightGradient}
    assert {kind.form for kind in kinds} == {form}


@pytest.mark.parametrize(
    "g", [square(24, 30, 29, 40, N=3), square(130, 8, 8, 70), square(8, 64, 64, 8), image(9, 20, 21, 12, 5, 5)], ids=str
)
def test_same_bits_for_any_number_of_threads(g: ConvGeometry, form: Form, dtype: str) -> None:
    assert_same_bits(forced(form), g, dtype)


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))


def assert_error_is_small(winograd: NumbaCpu, g: ConvGeometry, kind: str) -> None:
    """Raise an error if a float32 result errs more than twice as much as torch's, plus a rounding of the largest sum.

    Operands have both signs, or images are as after ReLU, or all is positive.
    """
    rng = np.random.default_rng(7)
    x, w, grad = (
        rng.standard_normal(shape, dtype=np.float32) for shape in (g.input_shape, g.weight_shape, g.output_shape)
    )
    if kind == "relu":
        x, grad = np.maximum(x, 0), np.maximum(grad, 0)
    elif kind == "positive":
        x, w, grad = np.abs(x), np.abs(w), np.abs(grad)
    ours = winograd.conv2d(x, w, None, g), winograd.conv2d_input(grad, w, g), winograd.conv2d_weight(x, grad, g)

    def by_torch(dtype: torch.dtype) -> tuple[np.ndarray, ...]:
        pixels, weight, gradient = (torch.from_numpy(array).to(dtype) for array in (x, w, grad))
        pixels.requires_grad_()
        weight.requires_grad_()
        y = torch.nn.functional.conv2d(pixels, weight, padding=(g.R // 2, g.S // 2))
        return tuple(a.detach().numpy() for a in (y, *torch.autograd.grad(y, (pixels, weight), gradient)))

    names = "forward", "input", "weight"
    for name, mine, theirs, exact in zip(names, ours, by_torch(torch.float32), by_torch(torch.float64), strict=True):
        assert _rms(mine - exact) <= 2 * _rms(theirs - exact) + np.abs(exact).max() * 2.0**-24, name


@pytest.mark.parametrize("kind", ["both_signs", "relu", "positive"])
@pytest.mark.parametrize(
    "g",
    [
        square(3, 32, 32, 16, N=2),
        square(8, 56, 56, 8, N=2),
        square(64, 28, 28, 64),
        square(512, 14, 14, 32),
        square(32, 14, 14, 512),
        square(2048, 8, 8, 16),
        image(64, 14, 14, 64, 5, 5),
        image(16, 14, 14, 32, 7, 7),
    ],
    ids=str,
)
def test_rms_error_is_at_most_twice_torchs(g: ConvGeometry, kind: str, form: Form) -> None:
    assert_error_is_small(forced(form), g, kind)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_numbers_that_spread_over_a_patch_do_not(value: float, winograd: NumbaCpu, simd: Simd) -> None:
    """NaN, infinities, and numbers whose transform would overflow stand at corners, edges and in the middle."""
    assert_special_values_travel(winograd, square(3, 7, 8, 5, N=2), simd, value)
    assert_special_values_travel(winograd, image(2, 7, 8, 3, 5, 4, N=2), simd, value)


def test_it_is_the_planners_choice_for_many_channels() -> None:
    simd = Simd(instruction_set.AVX512, "float32")
    taps = tuple((r - 1, s - 1, 3 * r + s) for r in range(3) for s in range(3))
    for weight in (False, True):
        chosen = {}
        for channels in (1, 128):
            problem = Problem(8, 1, channels, channels, (28, 28), (28, 28), (1, 1), taps)
            best = planner.choose(simd, problem, None, weight=weight)
            assert best is not None
            chosen[channels] = best.algorithm
        assert chosen[128].startswith("winograd")
        assert not chosen[1].startswith("winograd")


def test_the_planner_chooses_among_forms() -> None:
    """Large images go by the large tile, images of a few pixels by the small one."""
    simd = Simd(instruction_set.AVX512, "float32")
    taps = tuple((r - 1, s - 1, 3 * r + s) for r in range(3) for s in range(3))
    chosen = {}
    for size, channels in ((112, 128), (7, 512)):
        problem = Problem(1, 1, channels, channels, (size, size), (size, size), (1, 1), taps)
        forms = planner.candidates(simd, problem, "winograd", weight=False)
        assert {each.algorithm for each in forms} == {"winograd(2x2)", "winograd(4x4)"}
        chosen[size] = planner.choose(simd, problem, "winograd")
        assert chosen[size] == forms[0]
    assert {size: best.algorithm for size, best in chosen.items()} == {112: "winograd(4x4)", 7: "winograd(2x2)"}
