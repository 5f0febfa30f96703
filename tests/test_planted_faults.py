"""The comparisons bite: backends with typical faults, each of which the table of cases must find."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.backends.base import Backend
from fastconv.backends.im2col import Im2col
from fastconv.geometry import PoolGeometry
from tests.backends import test_convolution, test_pooling
from tests.cases import CONVOLUTIONS, MAX_POOLINGS
from tests.conftest import spy

pytestmark = pytest.mark.usefixtures("own_registry")


class Faulty(Im2col):
    """A right backend to put one fault into."""

    def __init__(self) -> None:
        super().__init__("faulty")


class LastRowUnwritten(Faulty):
    def conv2d(self, x, w, b, geometry):
        right, y = super().conv2d(x, w, b, geometry), np.empty(geometry.output_shape, x.dtype)
        y[:, :, :-1] = right[:, :, :-1]
        return y


class BiasForgotten(Faulty):
    def conv2d(self, x, w, b, geometry):
        return super().conv2d(x, w, None, geometry)


class OneWeightOff(Faulty):
    def conv2d(self, x, w, b, geometry):
        w = w.copy()
        w[-1, -1:, -1, -1] *= 1.001
        return super().conv2d(x, w, b, geometry)


class InputOverwritten(Faulty):
    def conv2d(self, x, w, b, geometry):
        y = super().conv2d(x, w, b, geometry)
        x *= 1.5
        return y


class PaddingSkipped(Faulty):
    def conv2d(self, x, w, b, geometry):
        return np.nan_to_num(super().conv2d(x, w, b, geometry), posinf=np.inf, neginf=-np.inf)


class RunningSums(Faulty):
    @np.errstate(all="ignore")
    def avg_pool2d(self, x, geometry):
        return super().avg_pool2d(x + 0 * x.sum(axis=3, keepdims=True), geometry)


class WeightsNotTurned(Faulty):
    def conv2d_input(self, grad, w, geometry):
        return super().conv2d_input(grad, w[..., ::-1, ::-1], geometry)


class LastImageForgotten(Faulty):
    def conv2d_weight(self, x, grad, geometry):
        grad = grad.copy()
        grad[-1:] = 0
        return super().conv2d_weight(x, grad, geometry)


class LastOfEqualWins(Faulty):
    def max_pool2d(self, x, geometry: PoolGeometry):
        values, indices = super().max_pool2d(x, geometry)
        for tap in geometry.taps():
            ties = x[..., *tap.pixels] == values[..., *tap.windows]
            plane = np.arange(geometry.H * geometry.W).reshape(geometry.H, geometry.W)[tap.pixels]
            np.copyto(indices[..., *tap.windows], plane, where=ties)
        return values, indices


class PaddingIsZero(Faulty):
    def max_pool2d(self, x, geometry: PoolGeometry):
        values, indices = super().max_pool2d(x, geometry)
        return (np.maximum(values, 0) if any(geometry.padding) else values), indices


class NanLoses(Faulty):
    def max_pool2d(self, x, geometry: PoolGeometry):
        return super().max_pool2d(np.nan_to_num(x, nan=-np.inf), geometry)


class OverlapOverwritten(Faulty):
    def max_pool2d_backward(self, grad, indices, size):
        N, C, P, Q = grad.shape
        x = np.zeros((N, C, size[0] * size[1]), grad.dtype)
        np.put_along_axis(x, indices.reshape(N, C, P * Q), grad.reshape(N, C, P * Q), 2)
        return x.reshape(N, C, *size)


FAULTS: dict[type[Faulty], tuple[Callable[..., None], str]] = {
    LastRowUnwritten: (test_convolution.test_forward, "case"),
    BiasForgotten: (test_convolution.test_forward, "case"),
    OneWeightOff: (test_convolution.test_forward, "case"),
    InputOverwritten: (test_convolution.test_forward, "case"),
    WeightsNotTurned: (test_convolution.test_gradients, "case"),
    LastImageForgotten: (test_convolution.test_gradients, "case"),
    PaddingSkipped: (test_convolution.test_nan_and_infinities_travel_as_in_torch, "value"),
    PaddingIsZero: (test_pooling.test_max, "case"),
    OverlapOverwritten: (test_pooling.test_max_backward, "case"),
    LastOfEqualWins: (test_pooling.test_special_values_in_max, "values"),
    NanLoses: (test_pooling.test_special_values_in_max, "values"),
    RunningSums: (test_pooling.test_special_values_stay_in_their_windows, "value"),
}
"""Each with the check that must find it, and the argument that the check runs over."""

ARGUMENTS: dict[Callable[..., None], list[Any]] = {
    test_convolution.test_forward: CONVOLUTIONS,
    test_convolution.test_gradients: CONVOLUTIONS,
    test_convolution.test_nan_and_infinities_travel_as_in_torch: [np.nan, np.inf],
    test_pooling.test_max: MAX_POOLINGS,
    test_pooling.test_max_backward: MAX_POOLINGS,
    test_pooling.test_special_values_in_max: list(test_pooling.SPECIAL.values()),
    test_pooling.test_special_values_stay_in_their_windows: [np.nan, np.inf],
}


def _failures(backend: Backend, check: Callable[..., None], argument: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """In how many of its cases the check fails for this backend."""
    rng = np.random.default_rng(20)
    record: list[tuple[str, str]] = []
    spy(backend, record, monkeypatch)
    fastconv.register_backend(backend)
    fixed = {
        "backend": backend.name,
        "dtype": "float32",
        "draw": lambda *shape: rng.standard_normal(shape).astype(np.float32),
        "ran": record,
        "how": {"stride": 1, "padding": 1},
        "where": "weight",
    }
    wanted = {name: value for name, value in fixed.items() if name in inspect.signature(check).parameters}
    failures = 0
    for value in ARGUMENTS[check]:
        record.clear()
        try:
            check(**wanted, **{argument: value})
        except AssertionError:
            failures += 1
    return failures


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_fault_is_found(fault: type[Faulty], monkeypatch: pytest.MonkeyPatch) -> None:
    assert _failures(fault(), *FAULTS[fault], monkeypatch) > 0


@pytest.mark.parametrize("check", ARGUMENTS, ids=lambda check: check.__name__)
def test_no_fault_no_finding(check: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    (argument,) = {name for found_by, name in FAULTS.values() if found_by is check}
    assert _failures(Faulty(), check, argument, monkeypatch) == 0


def test_a_backend_that_did_not_run_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatcher that quietly takes another backend fails every check, however right the numbers are."""
    monkeypatch.setattr(Faulty, "select", lambda self, *problem: fastconv.registry.get("naive"))
    check = test_convolution.test_forward
    assert _failures(Faulty(), check, "case", monkeypatch) == len(CONVOLUTIONS)
