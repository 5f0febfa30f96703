"""These tests count the jobs, taps and multiplications of the primitives: none may be superfluous."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastconv.backends.block import Block
from fastconv.backends.chain import Gradients, Operands
from fastconv.backends.numba_cpu import routes
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.conv.tap_parts.tiling import part_tilings
from fastconv.backends.numba_cpu.lowering import Job, jobs
from fastconv.backends.numba_cpu.planner import choose
from fastconv.backends.numba_cpu.routes import chosen_jobs
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning.splitting import TASKS
from fastconv.geometry import ConvGeometry
from tests import oracle
from tests.forced import assert_same_bits, how, image
from tests.tolerance import assert_equal

TEXT = ConvGeometry(2, 1, 9, 60, 40, 5, 60)
HIGH = ConvGeometry(2, 3, 40, 12, 8, 40, 3)
GENERATOR = ConvGeometry(1, 256, 8, 8, 512, 4, 4, (2, 2), (1, 1, 1, 1))
POOLED = image(256, 28, 28, 256, 3, 3, padding=(24, 24, 24, 24), dilation=(24, 24))
PIXEL = image(9, 1, 1, 7, 3, 3, N=2)


def chosen(operation: str, g: ConvGeometry) -> list[Job]:
    numba = NumbaCpu()
    return chosen_jobs(numba._simd(np.dtype(np.float32)), operation, g, None)[0]


def flops(found: list[Job]) -> int:
    return sum(job.problem.flops for job in found)


@pytest.mark.parametrize("g", [TEXT, HIGH, ConvGeometry(50, 1, 56, 300, 100, 5, 300)], ids=str)
def test_kernels_as_large_as_the_image_multiply_what_there_is(g: ConvGeometry) -> None:
    for operation in ("conv2d", "conv2d_input", "conv2d_weight"):
        assert flops(chosen(operation, g)) <= 1.5 * g.flops, operation


def test_lattices_are_those_that_taps_go_to() -> None:
    for stride in (5, 1000, 2**31 - 1):
        g = ConvGeometry(1, 2, 9, 11, 3, 2, 3, (stride, stride))
        found, complete = jobs("conv2d_input", g)
        assert len(found) == 2 * 3
        assert not complete
        rng = np.random.default_rng(0)
        x, w, grad = (rng.integers(-4, 5, shape) * 1.0 for shape in (g.input_shape, g.weight_shape, g.output_shape))
        for_x, for_w, _ = oracle.conv2d_gradients(x, w, grad, how(g))
        np.testing.assert_array_equal(NumbaCpu().conv2d(x, w, None, g), oracle.conv2d(x, w, None, how(g)))
        np.testing.assert_array_equal(NumbaCpu().conv2d_input(grad, w, g), for_x)
        np.testing.assert_array_equal(NumbaCpu().conv2d_weight(x, grad, g), for_w)
    assert jobs("conv2d_input", image(2, 8, 8, 3, 3, 3, stride=(2, 2)))[1]
    # The single tap reads only pixels beyond the image.
    assert jobs("conv2d_input", ConvGeometry(1, 1, 1, 1, 1, 1, 1, (2, 1), (1, 1, 0, 0)))[0] == []


@pytest.mark.parametrize("operation", ["conv2d", "conv2d_input", "conv2d_weight"])
def test_taps_that_meet_nothing_are_left_out(operation: str) -> None:
    (job,), _ = jobs(operation, PIXEL)
    assert [place for _, _, place in job.problem.taps] == [4]
    (job,), _ = jobs(operation, image(3, 20, 20, 4, 3, 3, padding=(24, 24, 24, 24), dilation=(24, 24)))
    assert [place for _, _, place in job.problem.taps] == [4]
    (job,), _ = jobs(operation, image(3, 25, 20, 4, 3, 3, padding=(24, 24, 24, 24), dilation=(24, 24)))
    assert [place for _, _, place in job.problem.taps] == [1, 4, 7]


@pytest.mark.parametrize("dilation", [6, 12, 24])
def test_taps_are_left_out_where_they_meet_nothing(dilation: int) -> None:
    """A convolution leaves them out in its tiles or has parts, a weight gradient has parts that are a single job."""
    g = image(256, 28, 28, 256, 3, 3, padding=(dilation,) * 4, dilation=(dilation,) * 2)
    simd = NumbaCpu()._simd(np.dtype(np.float32))
    for operation in ("conv2d", "conv2d_input"):
        found = chosen(operation, g)
        best = choose(simd, found[0].problem, None)
        assert len(found) == 9 or (best is not None and best.algorithm == "channels")
        assert sum(routes.job_cycles(simd, job) for job in found) < 2 * 256 * 256 * along(dilation) ** 2 / simd.lanes
    (job,) = chosen("conv2d_weight", g)
    assert len(job.parts) == 9
    assert flops(list(job.parts)) == 2 * 256 * 256 * along(dilation) ** 2


def along(dilation: int) -> int:
    """Return the pairs of a tap and a pixel on an axis of 28 pixels."""
    return 28 + 2 * (28 - dilation)


def test_few_taps_in_the_padding_are_multiplied() -> None:
    for operation in ("conv2d", "conv2d_input", "conv2d_weight"):
        assert not any(job.parts for job in chosen(operation, image(64, 28, 28, 64, 3, 3, N=8)))
        assert not any(job.parts for job in chosen(operation, image(512, 7, 7, 512, 3, 3, N=8)))


def test_parts_make_large_tasks() -> None:
    """All parts together have about as many tasks as a whole weight gradient."""
    (job,) = chosen("conv2d_weight", POOLED)
    cuts = part_tilings(NumbaCpu()._simd(np.dtype(np.float32)), job)
    assert sum(cut.blocks * cut.panel_blocks * cut.splits for cut in cuts) <= 2 * TASKS


def test_large_weights_on_small_images_are_packed_once() -> None:
    (job,) = chosen("conv2d_input", GENERATOR)
    assert job.columns == GENERATOR


SPECIAL = [
    PIXEL,
    image(3, 6, 7, 4, 3, 3, padding=(5, 5, 5, 5), dilation=(5, 5)),
    image(3, 6, 7, 4, 3, 3, N=2, padding=(8, 8, 8, 8), dilation=(8, 8)),
    image(3, 4, 5, 4, 1, 1, padding=(3, 2, 1, 4)),
    image(3, 7, 9, 4, 3, 3, stride=(2, 2), padding=(5, 5, 5, 5), dilation=(4, 5)),
    image(4, 7, 9, 4, 3, 3, padding=(5, 5, 5, 5), dilation=(5, 5), groups=4),
    image(6, 12, 19, 30, 3, 3, N=2, padding=(7, 7, 7, 7), dilation=(7, 7), groups=2),
    image(3, 9, 20, 18, 2, 3, N=17, stride=(2, 3), padding=(0, 4, 9, 0), dilation=(3, 6)),
    image(400, 5, 5, 9, 3, 3, padding=(4, 4, 4, 4), dilation=(4, 4)),
    image(1600, 8, 8, 9, 3, 3, N=2, padding=(6, 6, 6, 6), dilation=(6, 6)),
    image(6500, 3, 3, 2, 3, 3, padding=(2, 2, 2, 2), dilation=(2, 2)),
    image(3, 30, 40, 4, 3, 3, N=8, padding=(20, 20, 20, 20), dilation=(20, 20)),
    TEXT,
]


def _whole(simd: Simd, found: list[Job]) -> int:
    return 1000 * any(job.parts for job in found) + len(found)


def _apart(simd: Simd, found: list[Job]) -> int:
    return 1000 * any(job.parts for job in found) - len(found)


def _in_parts(simd: Simd, found: list[Job]) -> int:
    return -sum(len(job.parts) for job in found)


@pytest.mark.parametrize("cost", [_whole, _apart, _in_parts])
@pytest.mark.parametrize("g", SPECIAL, ids=str)
def test_values_and_special_values(
    g: ConvGeometry, cost: Callable[[Simd, list[Job]], int], monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """Results are right whole and in parts, alone and in a block, also where special values stand in taps left out."""
    monkeypatch.setattr(routes, "_cycles", cost)
    numba = NumbaCpu()
    rng = np.random.default_rng(1)
    plain = [rng.integers(-4, 5, shape).astype(dtype) for shape in (g.input_shape, g.weight_shape, g.output_shape)]
    for which, value in ((None, 0.0), (0, np.inf), (1, np.nan), (1, -np.inf), (2, np.inf), (2, np.nan)):
        x, w, grad = operands = [array.copy() for array in plain]
        if which is not None:
            operands[which][-1, 0, 0, 0] = value
        y = oracle.conv2d(x, w, None, how(g))
        for_x, for_w, _ = oracle.conv2d_gradients(x, w, grad, how(g))
        assert_equal(numba.conv2d(x, w, None, g), y, "forward")
        assert_equal(numba.conv2d_input(grad, w, g), for_x, "input")
        assert_equal(numba.conv2d_weight(x, grad, g), for_w, "weight")
        block = numba.chain((Block(g, None, None),), np.dtype(dtype))
        if block is not None:  # there is none where taps are left out
            in_block = [np.empty(each.shape, dtype) for each in (y, for_x, for_w)]
            result, in_x, in_w = in_block
            operands = Operands(x, (w, None), result, np.empty(block.saved_bytes + 1, np.uint8))
            finite = block.forward(operands), block.backward(operands, Gradients(grad, in_x, (in_w, None)))
            assert which is not None or all(finite)
            for found, right, name in ((result, y, "block"), (in_x, for_x, "input"), (in_w, for_w, "weight")):
                if finite[name != "block"]:
                    assert_equal(found, right, f"{name}, in a block")


@pytest.mark.parametrize("algorithm", ["gemm", "direct"])
@pytest.mark.parametrize("K", [5, 200], ids="{} channels".format)
def test_every_second_pixel_is_written_by_vectors(algorithm: str, K: int, dtype: str) -> None:
    """Rows have all lengths up to two vectors and a half; with 200 channels the sum is added to what is there."""
    rng = np.random.default_rng(3)
    numba = NumbaCpu("forced", algorithm=algorithm)
    for Q in range(1, 42):
        g = image(9, 3, 2 * Q + 1, K, 2, 4, N=2, stride=(2, 2), padding=(1, 0, 1, 2))
        w, grad = (rng.integers(-4, 5, shape).astype(dtype) for shape in (g.weight_shape, g.output_shape))
        for_x, _, _ = oracle.conv2d_gradients(np.zeros(g.input_shape), w, grad, how(g))
        assert_equal(numba.conv2d_input(grad, w, g), for_x, f"{Q} columns")


@pytest.mark.parametrize("g", [TEXT, POOLED, GENERATOR], ids=str)
def test_same_bits_for_any_number_of_threads(g: ConvGeometry) -> None:
    assert_same_bits(NumbaCpu(), g, "float32")


@pytest.mark.parametrize("line", [np.s_[:, :, 2], np.s_[:, :, :, 0]], ids=["row", "column"])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("form", ["2x2", "4x4"])
@pytest.mark.parametrize("empty", [0, 5], ids="{} rows of empty kernels".format)
def test_pixels_under_a_line_of_zero_taps_do_not_show(
    line: tuple[slice, ...], size: int, form: str, empty: int
) -> None:
    """A causal kernel has such taps; not even 1e30 may show, whose rounding would hide the rest of a Winograd patch."""
    g = image(32, 12, 12, 32, size, size)
    rng = np.random.default_rng(2)
    x, w = (rng.standard_normal(shape, dtype=np.float32) for shape in (g.input_shape, g.weight_shape))
    w[line] = 0
    w[:empty] = 0
    w[empty, :2] = 0
    if size == 5 and line == np.s_[:, :, 2]:
        w[:, :, 3:] = 0
    numba = NumbaCpu("forced", algorithm=f"winograd({form})")
    before = numba.conv2d(x, w, None, g)
    far = x.copy()
    if len(line) == 3:
        far[:, :, 6] = 1e30
        np.testing.assert_array_equal(numba.conv2d(far, w, None, g)[:, :, :6], before[:, :, :6])
    else:
        far[:, :, :, 6] = 1e30
        np.testing.assert_array_equal(numba.conv2d(far, w, None, g)[..., 6 + size // 2 :], before[..., 6 + size // 2 :])
