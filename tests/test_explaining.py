"""What `explain` says is what is run, and an algorithm that is asked for is the one that runs."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv
from fastconv import registry
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
        UnknownBackendError, match=r"'gemm', 'direct', 'winograd', 'batch', 'matrix', 'depthwise', .* and 'fft' is none"
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


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="operation"):
        fastconv.explain((1, 1, 3, 3), (1, 1, 2, 2), operation="pool")
    with pytest.raises(TypeError, match="dtype"):
        fastconv.explain((1, 1, 3, 3), (1, 1, 2, 2), dtype="int32")
    with pytest.raises(ArgumentError, match="weight"):
        fastconv.explain((1, 2, 3, 3), (1, 1, 2, 2))
