"""Every rung of the ladder, asked for by name, on what its tiles, lattices, splits and borders make delicate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fastconv
from fastconv.backends.numba_cuda import planner
from fastconv.backends.numba_cuda.backend import NumbaCuda
from fastconv.backends.numba_cuda.calls import Calls
from fastconv.backends.numba_cuda.correlation import forward, input_gradient
from fastconv.backends.numba_cuda.ladder import ALGORITHMS
from fastconv.backends.numba_cuda.storage import STORAGES
from fastconv.errors import UnknownBackendError, UnsupportedError
from fastconv.geometry import ConvGeometry
from tests.cuda.exact import assert_exact, numbers
from tests.forced import assert_special_values_travel, image

GEOMETRIES = {
    "one_pixel": ConvGeometry(1, 1, 1, 1, 1, 1, 1),
    "padded": image(3, 5, 6, 5, 3, 3, N=2),
    "groups": image(4, 5, 4, 6, 3, 2, N=2, groups=2),
    "depthwise_multiplier": image(3, 5, 4, 6, 3, 3, N=5, groups=3),
    "stride_2": image(2, 7, 6, 3, 3, 3, N=2, stride=(2, 2)),
    "stride_beyond_kernel": image(2, 9, 8, 3, 2, 1, stride=(4, 3)),
    "dilated_strided": image(2, 9, 7, 3, 3, 2, stride=(2, 1), dilation=(2, 3), padding=(2, 1, 0, 3)),
    "dilation_shares_a_factor": image(2, 9, 9, 3, 3, 3, stride=(4, 2), dilation=(2, 4), padding=(4, 4, 4, 4)),
    "taps_apart": image(1, 12, 9, 2, 3, 3, stride=(2, 2), dilation=(3, 5), padding=(3, 3, 5, 5)),
    "valid": image(2, 6, 7, 3, 3, 3, N=6, padding=(0, 0, 0, 0)),
    "pointwise_17_to_9": image(17, 3, 5, 9, 1, 1),
    "rows_33": image(2, 3, 4, 33, 3, 1),
    "wide_kernel": image(1, 3, 12, 2, 1, 11),
}


def backend(algorithm: str) -> NumbaCuda:
    return NumbaCuda(f"cuda:{algorithm}", algorithm)


@pytest.mark.parametrize("g", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_exact(algorithm: str, g: ConvGeometry) -> None:
    assert_exact(backend(algorithm), g, "float32")


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "tf32"])
def test_exact_in_float64(algorithm: str) -> None:
    assert_exact(backend(algorithm), GEOMETRIES["dilated_strided"], "float64")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "tf32"])
def test_special_values_travel(algorithm: str, value: float) -> None:
    class InFloat64:
        dtype = "float64"

    assert_special_values_travel(backend(algorithm), image(1, 3, 3, 1, 3, 3), InFloat64, value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_special_values_travel_through_matrix_units(value: float) -> None:
    """Where they do by the definition: weights that aren't finite meet no zeros outside the gradient."""
    g = image(1, 4, 4, 1, 3, 3)
    x, w, _, grad = numbers(g, "float32")
    w[0, 0, 0, 0] = value
    found, expected = (backend(name).conv2d_input(grad, w, g) for name in ("tf32", "definition"))
    np.testing.assert_array_equal(found, expected)
    assert 0 < np.isfinite(expected).sum() < expected.size
    x[0, 0, 0, 0] = value
    ways = [backend(name) for name in ("tf32", "definition")]
    np.testing.assert_array_equal(*(way.conv2d(x, w, None, g) for way in ways))
    np.testing.assert_array_equal(*(way.conv2d_weight(x, grad, g) for way in ways))


SMALL = image(5, 4, 5, 9, 3, 3, N=3)


@pytest.mark.parametrize(
    ("algorithm", "number"),
    [(name, i) for name in ("gemm", "tf32") for i in range(len(planner.tiles(name, STORAGES["float32"])))],
)
@pytest.mark.parametrize("splits", [1, 3])
def test_every_tile_and_split(algorithm: str, number: int, splits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more splits than steps too, the last of which have nothing to do."""
    tile, _ = planner.tiles(algorithm, STORAGES["float32"])[number]
    genuine = planner.best

    def chosen(*arguments: object, **more: object) -> planner.Plan:
        return replace(genuine(*arguments, **more), tile=tile, splits=splits)  # type: ignore[arg-type]

    monkeypatch.setattr(planner, "best", chosen)
    assert_exact(backend(algorithm), SMALL, "float32")


@pytest.mark.parametrize(
    ("algorithm", "rows", "images"),
    [
        ("direct", 4, 1),
        ("direct", 8, 4),
        ("direct", 16, 1),
        ("direct", 16, 4),
        ("depthwise", 0, 1),
        ("depthwise", 0, 4),
    ],
)
def test_every_shape_of_the_direct_forms(
    algorithm: str, rows: int, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 6 images, of which 4 at a time leave 2."""
    genuine = planner.best

    def chosen(algorithm: str, f: object, stored: object, *, weigh: bool) -> planner.Plan:
        plan = genuine(algorithm, f, stored, weigh=weigh)  # type: ignore[arg-type]
        return plan if weigh else replace(plan, rows=rows, images=images)

    monkeypatch.setattr(planner, "best", chosen)
    assert_exact(backend(algorithm), image(2, 4, 3, 18, 2, 3, N=6), "float32")


def test_windows_of_one_pixel_are_added_in_order() -> None:
    """In any other order the small ones would be lost, or the large ones not cancel."""
    large, small = 2.0**25, 1.0
    grads = np.array([small, large, -large, small, large, small, -large, small], np.float32)
    windows = np.tile(grads, 40).reshape(1, 1, 16, 20)
    total = np.float32(0)
    for each in windows.reshape(-1):
        total += each
    found = NumbaCuda().max_pool2d_backward(windows, np.full(windows.shape, 5, np.int64), (3, 3))
    assert found[0, 0, 1, 2] == total
    assert np.count_nonzero(found) == (total != 0)


def test_tf32_rounds_each_operand_once() -> None:
    """Numbers of 11 bits lose one, and only where the caller lets them."""
    g = ConvGeometry(1, 1, 1, 1, 1, 1, 1)
    x, w = np.full((1, 1, 1, 1), 1 + 2**-11 + 2**-12, np.float32), np.ones((1, 1, 1, 1), np.float32)
    for first, second in ((x, w), (w, x)):
        assert backend("tf32").conv2d(first, second, None, g)[0, 0, 0, 0] == np.float32(1 + 2**-10)
        assert backend("tf32").conv2d_input(first, second, g)[0, 0, 0, 0] == np.float32(1 + 2**-10)
        assert backend("tf32").conv2d_weight(first, second, g)[0, 0, 0, 0] == np.float32(1 + 2**-10)
        assert backend("gemm").conv2d(first, second, None, g)[0, 0, 0, 0] == x[0, 0, 0, 0]
    large = image(256, 14, 14, 256, 3, 3, N=32)
    single, half = STORAGES["float32"], STORAGES["bfloat16"]
    names = [plan.algorithm for plan in planner.candidates(forward(large), single, weigh=False, tf32=False)]
    assert "tf32" not in names
    assert planner.candidates(forward(large), single, weigh=False, tf32=True)[0].algorithm == "tf32"
    assert planner.candidates(forward(large), half, weigh=False, tf32=False)[0].algorithm == "tf32"


def test_float64_is_not_for_tf32() -> None:
    x = np.zeros((1, 1, 3, 3))
    with pytest.raises(UnsupportedError, match=r"cuda:tf32.*float64"):
        fastconv.conv2d(x, np.zeros((1, 1, 2, 2)), backend="cuda:tf32")


def test_an_unknown_rung_lists_the_others() -> None:
    with pytest.raises(UnknownBackendError, match="'definition', 'tiled', 'gemm'"):
        fastconv.conv2d(np.zeros((1, 1, 3, 3)), np.zeros((1, 1, 2, 2)), backend="cuda:fft")


@pytest.mark.parametrize("algorithm", ["gemm", "direct", "tiled"])
def test_the_same_bits_every_time(algorithm: str) -> None:
    g = image(3, 6, 5, 4, 3, 3, N=5)
    rng = np.random.default_rng(3)
    x, grad = (rng.standard_normal(shape).astype(np.float32) for shape in (g.input_shape, g.output_shape))
    found = [backend(algorithm).conv2d_weight(x, grad, g).tobytes() for _ in range(2)]
    assert found[0] == found[1]


NETWORKS = {
    "lenet5.conv1": (image(1, 28, 28, 6, 5, 5, N=100), "direct"),
    "simple_convnet.conv1": (image(1, 28, 28, 30, 5, 5, N=4096, padding=(0, 0, 0, 0)), "direct"),
    "resnet50.4b": (image(256, 14, 14, 256, 3, 3, N=32), "gemm"),
    "vgg16.1_2": (image(64, 224, 224, 64, 3, 3, N=32), "gemm"),
    "resnet50.2c": (image(64, 56, 56, 256, 1, 1, N=32), "gemm"),
    "mobilenet.dw3": (image(128, 56, 56, 128, 3, 3, N=32, groups=128), "depthwise"),
}


@pytest.mark.parametrize(("g", "algorithm"), NETWORKS.values(), ids=NETWORKS)
def test_the_planner_knows_its_rungs(g: ConvGeometry, algorithm: str) -> None:
    chosen = planner.candidates(forward(g), STORAGES["float32"], weigh=False, tf32=False)[0]
    assert chosen.algorithm == algorithm


def test_explain_says_what_each_rung_would_cost() -> None:
    told = fastconv.explain((32, 64, 56, 56), (64, 64, 3, 3), 2, 1, operation="conv2d_input", backend="cuda")
    assert set(told.algorithm.split(" and ")) <= set(ALGORITHMS)
    assert told.seconds is not None
    assert 0 < told.seconds < 1
    assert "lattice 4 of 4: 28 x 28 pixels, 4 taps" in str(told)
    assert all(name in str(told) for name in ALGORITHMS)
    assert fastconv.explain((1, 1, 4, 4), (1, 1, 3, 3), backend="cuda:tiled").algorithm == "tiled"


@pytest.mark.parametrize("g", GEOMETRIES.values(), ids=GEOMETRIES)
def test_lattices_cover_the_input_once(g: ConvGeometry) -> None:
    times = np.zeros((g.H, g.W), int)
    for f in input_gradient(g):
        times[
            f.to_row : f.to_row + f.I * f.by_row : f.by_row, f.to_column : f.to_column + f.J * f.by_column : f.by_column
        ] += 1
    assert (times == 1).all()
    assert sum(f.R * f.S for f in input_gradient(g)) <= g.R * g.S


def test_warmup_compiles_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(None)
    seen: list[str] = []
    for name in ("conv2d", "conv2d_input", "conv2d_weight"):
        monkeypatch.setattr(calls, name, lambda *_, name=name: seen.append(name))
    calls.warmup()
    assert {"conv2d", "conv2d_input", "conv2d_weight"} == set(seen)
