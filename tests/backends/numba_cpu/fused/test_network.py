"""The jobs of networks besides those of blocks, on every instruction set: passes over planes, and linear layers."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastconv
from fastconv.backends.block import Activation, Block
from fastconv.backends.compiler import ahead
from fastconv.backends.network import Arranged, Convolved, Outline
from fastconv.backends.numba_cpu.backend import NumbaCpu
from fastconv.backends.numba_cpu.fused.network import dense, planes
from fastconv.backends.numba_cpu.fused.network.look import Look
from fastconv.backends.numba_cpu.fused.network.plan import NumbaNetwork
from fastconv.backends.numba_cpu.fused.network.planes import Run
from fastconv.backends.numba_cpu.fused.network.training import plane_dots
from fastconv.backends.numba_cpu.fused.network.training.shares import Shares
from fastconv.backends.numba_cpu.runtime.program import HEAD, Place, ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd, instruction_set
from fastconv.geometry import ConvGeometry
from fastconv.threads import get_num_threads
from tests.forced import image


@pytest.fixture(params=instruction_set.ALL)
def simd(request: pytest.FixtureRequest, dtype: str) -> Simd:
    return Simd(instruction_set.ALL[request.param], dtype)


def _numbers(simd: Simd, *shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(simd.dtype)


RUNS = {
    "whole": [(0, 0, 6)],
    "parts of two": [(1, 2, 3), (0, 1, 4)],
    "channel by channel": [(0, 5, 1), (1, 0, 1), (0, 4, 1), (1, 0, 1)],
}
"""Runs of channels: which of two arrays, the first channel, and the number of them."""


def _gathered(arrays: tuple[np.ndarray, ...], runs: list[tuple[int, int, int]]) -> np.ndarray:
    return np.concatenate([arrays[which][:, first : first + length] for which, first, length in runs], 1)


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("plane", [1, 49, 200])
def test_a_copy_has_the_same_bits(runs: str, plane: int, simd: Simd) -> None:
    """Infinities, NaN and -0 too; 200 planes of 200 pixels are several tasks."""
    images = 40 if plane == 200 else 3
    arrays = _numbers(simd, images, 6, plane), _numbers(simd, images, 5, plane)
    for array in arrays:
        array.reshape(-1)[:4] = np.inf, -np.inf, np.nan, -0.0
    expected = _gathered(arrays, RUNS[runs])
    found = np.full_like(expected, 7.0)
    program = ProgramBuilder()
    sources, target = [program.operand() for _ in arrays], program.operand()
    _record(program, simd, sources, RUNS[runs], expected.shape, (None, None, None, None, target))
    assert program.finish().run((*arrays, found))
    assert found.tobytes() == expected.tobytes()


def _record(
    program: ProgramBuilder,
    simd: Simd,
    sources: list[Place],
    runs: list[tuple[int, int, int]],
    shape: tuple[int, ...],
    places: tuple[Place | None, Place | None, Place | None, Place | None, Place],
    activation: str | None = None,
) -> None:
    described = [Run(sources[which], (6, 5)[which], first, length) for which, first, length in runs]
    planes.record(program, simd, described, (shape[0], shape[1], shape[2]), places, activation)


@pytest.mark.parametrize("used", ["factors", "scale and shift", "residual", "all"])
def test_what_is_done_to_planes(used: str, simd: Simd) -> None:
    runs, arrays = RUNS["parts of two"], (_numbers(simd, 3, 6, 21), _numbers(simd, 3, 5, 21))
    factors, scale, shift, residual = (
        _numbers(simd, 3, 7) if used in ("factors", "all") else None,
        _numbers(simd, 7) if used in ("scale and shift", "all") else None,
        _numbers(simd, 7) + 1 if used in ("scale and shift", "all") else None,
        _numbers(simd, 3, 7, 21) if used in ("residual", "all") else None,
    )
    expected = _gathered(arrays, runs).astype(np.float64)
    expected = expected * (1.0 if factors is None else factors[:, :, None])
    expected = expected * (1.0 if scale is None else scale[:, None]) + (0.0 if shift is None else shift[:, None])
    expected = np.maximum(expected + (0.0 if residual is None else residual), 0.0)
    found = np.full((3, 7, 21), 7.0, simd.dtype)
    program = ProgramBuilder()
    sources = [program.operand() for _ in arrays]
    given = [program.operand() for _ in range(4)]
    _record(
        program, simd, sources, runs, (3, 7, 21), (given[0], given[1], given[2], given[3], program.operand()), "relu"
    )
    assert program.finish().run((*arrays, factors, scale, shift, residual, found))
    np.testing.assert_allclose(found, expected, rtol=0, atol=30 * np.finfo(simd.dtype).eps)


@pytest.mark.parametrize("pixels", [1, 15, 64, 65, 4096, 4163])
def test_sums_of_products_of_planes(pixels: int, simd: Simd) -> None:
    """Planes shorter than a vector, of whole vectors and of some more, and longer than what is summed at a time."""
    a, b = _numbers(simd, 9, pixels), _numbers(simd, 9, pixels)[::-1].copy()
    found = np.full(12, 7.0, simd.dtype)
    program = ProgramBuilder()
    places = [program.operand() for _ in range(3)]
    plane_dots.record(program, simd, places[0], places[1], places[2], 9, pixels)
    assert program.finish().run((a, b, found))
    exact = (a.astype(np.float64) * b).sum(1)
    eps = np.finfo(simd.dtype).eps
    np.testing.assert_allclose(found[:9], exact, rtol=2 * eps, atol=8 * np.sqrt(pixels) * eps)
    assert (found[9:] == 7.0).all()


def test_shares_of_a_gradient() -> None:
    """Channels side by side are one run, what nothing gives is None, and a second summand is a layer of its own."""
    one, other = Place(1), Place(2)
    shares = Shares(4)
    shares.add(Run(one, 4, 0, 4))
    assert shares.whole() == one
    shares.add(Run(other, 9, 5, 2), 1)
    assert shares.whole() is None
    assert shares.layers() == [[Run(one, 4, 0, 4)], [None, Run(other, 9, 5, 2), None]]
    shares.add(Run(other, 9, 7, 1), 3)
    assert shares.layers()[1] == [None, Run(other, 9, 5, 3)]


@pytest.mark.parametrize(("images", "rows", "depth"), [(1, 1, 1), (1, 16, 64), (2, 37, 129), (8, 40, 31)])
@pytest.mark.parametrize("activation", [None, "relu", "hardswish"])
def test_linear_layers(images: int, rows: int, depth: int, activation: str | None, simd: Simd) -> None:
    """Rows that don't fill the last task, lanes that don't fill the last vector, with and without bias."""
    x, w, b = _numbers(simd, images, depth), _numbers(simd, rows, depth, 1), _numbers(simd, rows)
    geometry = ConvGeometry(images, depth, 1, 1, rows, 1, 1, (1, 1), (0, 0, 0, 0), (1, 1), 1)
    assert dense.is_for(geometry)
    for bias in (b, None):
        program = ProgramBuilder()
        places = [program.operand() for _ in range(4)]
        dense.record(program, simd, geometry, activation, (places[0], places[1], places[2], places[3]))
        found = np.full(images * rows + 20, 7.0, simd.dtype)
        assert program.finish().run((x, w, bias, found))
        exact = torch.from_numpy(x).double() @ torch.from_numpy(w[..., 0]).double().T
        exact = exact if bias is None else exact + torch.from_numpy(bias).double()
        expected = exact if activation is None else getattr(F, activation)(exact)
        result, behind = found[: images * rows].reshape(images, rows), found[images * rows :]
        np.testing.assert_allclose(result, expected.numpy(), rtol=0, atol=depth * np.finfo(simd.dtype).eps * 8)
        assert (behind == 7.0).all()


def test_what_is_no_linear_layer_of_few_images() -> None:
    for sizes in ((9, 4, 1, 1, 5, 1, 1), (1, 4, 2, 2, 5, 1, 1), (1, 4, 3, 3, 5, 3, 3)):
        assert not dense.is_for(ConvGeometry(*sizes, (1, 1), (0, 0, 0, 0), (1, 1), 1))


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_look_sees_every_element_that_changes(kind: type, step: int, simd: Simd) -> None:
    """Only the last bit of one element changes, of one array among some; what lies in between is not compared."""
    arrays = [np.random.default_rng(n).normal(size=(1 + 7 * n) * step).astype(kind) for n in range(40)]
    arrays[3][0], arrays[4][0] = np.nan, -0.0
    program = ProgramBuilder()
    Look([array[::step] for array in arrays]).record(program, simd)
    look = program.finish()
    assert look.run(())
    for array in arrays[3:6]:
        for at in range(len(array)):
            words = array.view(np.int32)
            for word in range(at * array.itemsize // 4, (at + 1) * array.itemsize // 4):
                words[word] ^= 1
                assert look.run(()) == (at % step != 0)
                words[word] ^= 1
    assert look.run(())


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_a_1_x_1_convolution_with_a_residual_is_one_step(
    images: int, activation: Activation | None, simd: Simd
) -> None:
    block = Block(ConvGeometry(images, 8, 32, 33, 12, 1, 1), activation, None, residual=True)
    shape = block.result_shape
    outline = Outline((block.geometry.input_shape, shape, shape), 2, (Convolved(block, 0, 0, 1, 1),), 2, (2,))
    w, b = _numbers(simd, 12, 8, 1, 1), _numbers(simd, 12)
    network = NumbaNetwork(NumbaCpu("whole", simd.instructions, "matrix"), simd, outline, (w, b))
    x, residual, found = (
        _numbers(simd, *block.geometry.input_shape),
        _numbers(simd, *shape),
        np.empty(shape, simd.dtype),
    )
    assert network.run((x, residual), (found,))
    _, _, steps, _ = network._programs[get_num_threads()].code[:HEAD]
    assert steps == 1
    exact = F.conv2d(*(torch.from_numpy(each).double() for each in (x, w, b))) + torch.from_numpy(residual).double()
    expected = exact if activation is None else getattr(F, activation)(exact)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=100 * np.finfo(simd.dtype).eps)


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@pytest.mark.parametrize(
    "algorithm", ["matrix", "gemm", "direct", "channels", "batch", "winograd(2x2)", "winograd(4x4)"]
)
def test_convolutions_of_several_images_write_to_a_concatenation(
    algorithm: str, activation: Activation | None, simd: Simd
) -> None:
    N, C, size, counts = 3, 5, (14, 13), (6, 20, 3)
    blocks = [Block(image(C, *size, K, 3, 3, N=N), activation, None) for K in counts]
    whole = Block(image(sum(counts), *size, 4, 3, 3, N=N), None, None)
    shapes = [(N, K, *size) for K in (C, *counts, sum(counts), 4)]
    parts = tuple([(1 + number, 0, K) for number, K in enumerate(counts)])
    operations = (
        *[Convolved(block, 0, 2 * number, 2 * number + 1) for number, block in enumerate(blocks)],
        Arranged(parts),
        Convolved(whole, 4, 6, None),
    )
    weights = [_numbers(simd, K, C, 3, 3) for K in counts]
    biases = [_numbers(simd, K) for K in counts]
    parameters = [each for pair in zip(weights, biases, strict=True) for each in pair] + [
        _numbers(simd, 4, sum(counts), 3, 3)
    ]
    outline = Outline(tuple(shapes), 1, operations, len(parameters), (5, 4))
    network = NumbaNetwork(NumbaCpu("forced", simd.instructions, algorithm), simd, outline, tuple(parameters))
    x = _numbers(simd, N, C, *size)
    found = [np.full(shapes[at], np.nan, simd.dtype) for at in (5, 4)]
    assert network.run((x,), found)
    exact = [torch.from_numpy(each).double() for each in (x, *parameters)]
    sums = [F.conv2d(exact[0], exact[1 + 2 * n], exact[2 + 2 * n], padding=1) for n in range(3)]
    joined = torch.cat([each if activation is None else getattr(F, activation)(each) for each in sums], 1)
    bound = 500 * np.finfo(simd.dtype).eps
    np.testing.assert_allclose(found[1], joined.numpy(), rtol=0, atol=bound)
    np.testing.assert_allclose(found[0], F.conv2d(joined, exact[-1], padding=1).numpy(), rtol=0, atol=5 * bound)


def test_depthwise_convolutions_write_to_a_concatenation(simd: Simd) -> None:
    N, C, size = 2, 5, (9, 14)
    blocks = [Block(image(C, *size, C, R, R, N=N, groups=C), "relu", None) for R in (3, 5)]
    shapes = tuple([(N, K, *size) for K in (C, C, C, 2 * C)])
    convolved = [Convolved(block, 0, number, None) for number, block in enumerate(blocks)]
    outline = Outline(shapes, 1, (*convolved, Arranged(((1, 0, C), (2, 0, C)))), 2, (3,))
    weights = tuple([_numbers(simd, *block.geometry.weight_shape) for block in blocks])
    network = NumbaNetwork(NumbaCpu("forced", simd.instructions, "depthwise"), simd, outline, weights)
    x, found = _numbers(simd, *shapes[0]), np.full(shapes[3], np.nan, simd.dtype)
    assert network.run((x,), (found,))
    _, _, steps, _ = network._programs[get_num_threads()].code[:HEAD]
    assert steps == 2
    exact = [torch.from_numpy(each).double() for each in (x, *weights)]
    parts = [F.relu(F.conv2d(exact[0], w, padding=w.shape[-1] // 2, groups=C)) for w in exact[1:]]
    np.testing.assert_allclose(found, torch.cat(parts, 1).numpy(), rtol=0, atol=200 * np.finfo(simd.dtype).eps)


def test_parts_of_a_concatenation_are_not_copied(simd: Simd) -> None:
    N, size = 2, (5, 33)
    blocks = [Block(image(8, *size, K, 1, 1, N=N), "relu", None) for K in (12, 7)]
    whole = Block(image(19, *size, 4, 1, 1, N=N), None, None)
    shapes = tuple([(N, K, *size) for K in (8, 12, 7, 19, 4)])
    convolved = [Convolved(block, 0, number, None) for number, block in enumerate(blocks)]
    operations = (*convolved, Arranged(((1, 0, 12), (2, 0, 7))), Convolved(whole, 3, 2, None))
    weights = tuple([_numbers(simd, *block.geometry.weight_shape) for block in (*blocks, whole)])
    network = NumbaNetwork(
        NumbaCpu("forced", simd.instructions, "matrix"), simd, Outline(shapes, 1, operations, 3, (4,)), weights
    )
    assert network.run((_numbers(simd, *shapes[0]),), (np.empty(shapes[4], simd.dtype),))
    _, _, steps, _ = network._programs[get_num_threads()].code[:HEAD]
    assert steps == 3


def test_helpers_plan_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper process is sent what is planned; its plans ask for the same kernels, but for the looks at arrays."""
    sent: list[bytes] = []

    @contextmanager
    def expected(job: ahead.Job) -> Iterator[None]:
        sent.append(pickle.dumps(job))
        yield

    monkeypatch.setattr(ahead, "expected", expected)
    block = Block(ConvGeometry(1, 3, 20, 20, 8, 3, 3), "relu", None)
    shapes = block.geometry.input_shape, block.result_shape
    outline = Outline(shapes, 1, (Convolved(block, 0, 0, 1, None),), 2, (1,))
    parameters = np.ones((8, 3, 3, 3), np.float32), np.ones(8, np.float32)
    numba = NumbaCpu()
    network = NumbaNetwork(numba, numba._simd(np.dtype(np.float32)), outline, parameters)
    (job,) = map(pickle.loads, sent)
    program, packing, *_ = job()
    own, packed, *_ = network._written()
    assert [each.code[HEAD - 2] for each in (program, packing)] == [each.code[HEAD - 2] for each in (own, packed)]
    assert program.code[HEAD - 2] > 0


def test_programs_for_all_numbers_of_threads_use_the_same_operands() -> None:
    """What the first one doesn't use is given up."""
    block = Block(ConvGeometry(1, 64, 14, 14, 64, 3, 3), "relu", None)
    shapes = block.geometry.input_shape, block.result_shape
    outline = Outline(shapes, 1, (Convolved(block, 0, 0, 1, None),), 2, (1,))
    parameters = np.ones((64, 64, 3, 3), np.float32), np.ones(64, np.float32)
    numba, threads, found = NumbaCpu(), fastconv.get_num_threads(), []
    network = NumbaNetwork(numba, numba._simd(np.dtype(np.float32)), outline, parameters)
    try:
        for count in (1, 2, 5):
            fastconv.set_num_threads(count)
            *_, used = network._written()
            found.append(used)
    finally:
        fastconv.set_num_threads(threads)
    assert found[0] == found[1] == found[2]
    assert len(network._kept) == 1  # the bias: the weight is packed
