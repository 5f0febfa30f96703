"""What `explain` says is what is run, and an algorithm that is asked for is the one that runs."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv
from fastconv import registry
from fastconv.__main__ import main
from fastconv.backends.explanation import Explanation
from fastconv.errors import ArgumentError, UnknownBackendError, UnsupportedError
from fastconv.geometry import ConvGeometry
from tests.conftest import Draw

OPERATIONS = ("conv2d", "conv2d_input", "conv2d_weight")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_explanation_is_of_the_plan_that_runs(operation: str) -> None:
    backend = registry.get("numba")
    g = ConvGeometry(2, 8, 14, 14, 16, 3, 3, padding=(1, 1, 1, 1))
    plans, _, _ = backend._plans(operation, np.dtype(np.float32), g)  # type: ignore[attr-defined]
    said = fastconv.explain(g.input_shape, g.weight_shape, padding=1, operation=operation, backend="numba")
    name, _, form = said.algorithm.partition("(")
    kind = type(plans[0]).__name__.lower()
    assert kind.startswith(name)
    assert kind.endswith(form.removesuffix(")"))
    assert said.seconds is not None
    assert 0 < said.seconds < 1
    assert f"* {said.algorithm}" in str(said)


def test_each_lattice_of_a_strided_input_gradient_is_explained() -> None:
    said = str(fastconv.explain((8, 64, 56, 56), (64, 64, 3, 3), 2, operation="conv2d_input", backend="numba"))
    assert said.count("lattice ") == 4


@pytest.mark.parametrize("sizes", [((0, 2, 9, 8), (5, 2, 3, 3)), ((2, 0, 9, 8), (5, 0, 3, 3))])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_images_and_no_channels_are_nothing_to_compute(sizes: tuple[tuple[int, ...], ...], operation: str) -> None:
    for backend in ("numba", "numba:gemm"):
        said = fastconv.explain(*sizes, operation=operation, backend=backend)
        assert said.algorithm == "nothing to compute"
        assert said.seconds == 0
        assert "at the peak" in str(said)


def test_backends_without_a_plan_say_who_they_are() -> None:
    said = fastconv.explain((1, 1, 3, 3), (1, 1, 2, 2), backend="naive")
    assert said.algorithm == "naive"
    assert said.seconds is None
    assert "definition" in str(said)


@pytest.mark.parametrize("algorithm", ["gemm", "direct", "winograd(2x2)", "winograd(4x4)"])
def test_algorithm_asked_for_is_the_one_that_runs(algorithm: str, draw: Draw) -> None:
    name = f"numba:{algorithm}"
    x, w = draw(2, 3, 9, 8), draw(5, 3, 3, 3)
    y = fastconv.conv2d(x, w, backend=name)
    np.testing.assert_allclose(y, fastconv.conv2d(x, w, backend="naive"), rtol=1e-4, atol=1e-5)
    assert fastconv.explain(x.shape, w.shape, backend=name).algorithm == algorithm
    with fastconv.use_backend(name):
        assert fastconv.get_backend() == name
        assert (fastconv.conv2d(x, w) == y).all()
    assert name not in [backend.name for backend in fastconv.backends()]


def test_unknown_algorithms_and_options_are_refused() -> None:
    x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
    with pytest.raises(
        UnknownBackendError,
        match=r"'gemm', 'direct', 'winograd', 'batch', 'matrix', 'channels', 'depthwise', .* and 'fft' is none",
    ):
        fastconv.conv2d(x, w, backend="numba:fft")
    with pytest.raises(UnknownBackendError, match="'naive' has no options"):
        fastconv.conv2d(x, w, backend="naive:fast")
    with pytest.raises(UnknownBackendError, match="the backends are"):
        fastconv.conv2d(x, w, backend="nobody:fast")


def test_algorithm_that_cannot_is_an_error() -> None:
    x, w = np.ones((1, 1, 1, 2**21), np.float32), np.ones((1, 1, 1, 3), np.float32)
    with pytest.raises(UnsupportedError, match="a row of which"):
        fastconv.conv2d(x, w, backend="numba:direct")
    with pytest.raises(UnsupportedError, match="without stride"):
        fastconv.conv2d(x, w, stride=2, backend="numba:winograd")


def test_what_was_left_out_is_named_with_the_reason() -> None:
    said = str(fastconv.explain((2, 8, 14, 14), (16, 8, 3, 3), 2, backend="numba"))
    assert "- winograd(2x2) and 1 further form left out: only for kernels without stride\n" in said
    assert "- depthwise left out: only for one channel to a group" in said
    assert "- gemm" not in said
    depthwise = str(fastconv.explain((2, 8, 14, 14), (8, 1, 3, 3), groups=8, backend="numba"))
    assert "depthwise left out" not in depthwise


def test_the_share_of_the_peak_is_that_of_the_times() -> None:
    said = fastconv.explain((2, 8, 14, 14), (16, 8, 3, 3), 2, backend="numba")
    assert said.seconds is not None
    assert said.peak_seconds is not None
    assert f"predicted: {said.peak_seconds / said.seconds:.0%} of the peak\n" in str(said)
    assert said.measured is None
    measured = Explanation("gemm", 2e-3, "text", 1e-3, 4e-3)
    assert str(measured) == repr(measured) == "text\n  measured: 4.000 ms, 25% of the peak"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_measurement_is_one_of_the_backend_that_was_asked_for(operation: str, ran: list[tuple[str, str]]) -> None:
    said = fastconv.explain((1, 2, 5, 5), (3, 2, 3, 3), operation=operation, backend="im2col", measure=True)
    assert said.measured is not None
    assert f"measured: {1e3 * said.measured:.3f} ms" in str(said)
    assert len(ran) >= 4
    assert set(ran) == {("im2col", operation)}


def test_the_command_explains_a_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "N=1 C=2 H=5 K=3 R=3 op=backward dtype=float64", "--backend", "numba"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("predicted: ") == 2
    assert "conv2d_input, float64" in shown
    assert "conv2d_weight, float64" in shown
    assert main(["explain", "N=1 C=2 H=5 K=3 R=3", "--backend", "im2col", "--measure"]) == 0
    assert "measured: " in capsys.readouterr().out
    for words, why in (
        (["pool=max N=1 C=2 H=5 R=3"], "convolutions are explained"),
        (["N=1 C=2 H=5 K=3"], "R is missing"),
        (["N=1 C=2 H=5 K=3 R=3 stride=2", "--backend", "numba:winograd"], "is for kernels without stride"),
    ):
        assert main(["explain", *words]) == 2
        assert why in capsys.readouterr().err


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="operation"):
        fastconv.explain((1, 1, 3, 3), (1, 1, 2, 2), operation="pool")
    with pytest.raises(TypeError, match="dtype"):
        fastconv.explain((1, 1, 3, 3), (1, 1, 2, 2), dtype="int32")
    with pytest.raises(ArgumentError, match="weight"):
        fastconv.explain((1, 2, 3, 3), (1, 1, 2, 2))
