"""These tests compare convolutions, input gradients and weight gradients of every backend with torch in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fastconv
from tests import oracle
from tests.cases import CONVOLUTIONS, ConvCase, named
from tests.tolerance import assert_equal


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=named)
def test_forward(case: ConvCase, backend: str, dtype: str, draw, ran) -> None:
    x, w = draw(*case.x), draw(*case.w)
    b = draw(case.w[0]) if case.bias else None
    before = x.copy(), w.copy()
    y = fastconv.conv2d(x, w, b, **case.how, backend=backend)
    assert ran == [(backend, "conv2d")]
    assert y.dtype == dtype
    assert y.flags.c_contiguous
    assert_equal(y, oracle.conv2d(x, w, b, case.how))
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(w, before[1])


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=named)
def test_gradients(case: ConvCase, backend: str, dtype: str, draw, ran) -> None:
    x, w = draw(*case.x), draw(*case.w)
    grad = draw(*oracle.conv2d(x, w, None, case.how).shape)
    expected = oracle.conv2d_gradients(x, w, grad, case.how)
    actual = fastconv.conv2d_backward(grad, x, w, **case.how, backend=backend)
    assert ran == [(backend, "conv2d_input"), (backend, "conv2d_weight")]
    for name, ours, theirs in zip(("input", "weight", "bias"), actual, expected, strict=True):
        assert ours.dtype == dtype
        assert_equal(ours, theirs, f"gradient for {name}")


@pytest.mark.parametrize("mask", [(True, False, False), (False, True, False), (False, False, True), (False,) * 3])
def test_masked_gradients(mask: tuple[bool, ...], backend: str, draw) -> None:
    grads = fastconv.conv2d_backward(
        draw(1, 4, 4, 4), draw(1, 2, 6, 6), draw(4, 2, 3, 3), output_mask=mask, backend=backend
    )
    assert [grad is not None for grad in grads] == list(mask)


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=named)
def test_rms_error_is_at_most_twice_torchs(case: ConvCase, backend: str) -> None:
    """A float32 result may err twice as much as torch's, plus one rounding of the largest sum."""
    rng = np.random.default_rng(7)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in (case.x, case.w))
    exact = oracle.conv2d(x, w, None, case.how)
    if exact.size == 0:
        assert fastconv.conv2d(x, w, **case.how, backend=backend).size == 0
        return
    with torch.no_grad():
        image, how = oracle._unpadded(torch.from_numpy(x), case.how)
        theirs = torch.nn.functional.conv2d(image, torch.from_numpy(w), **how).numpy()
    ours = fastconv.conv2d(x, w, **case.how, backend=backend)
    budget = 2 * _rms(theirs - exact) + np.abs(exact).max() * 2.0**-24
    assert _rms(ours - exact) <= budget


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["input", "weight"])
def test_nan_and_infinities_travel_as_in_torch(value: float, where: str, backend: str, draw) -> None:
    x, w = draw(2, 3, 6, 7), draw(4, 3, 3, 3)
    if where == "input":
        x[0, 1, 2, 3] = value
    else:
        w[2, 1, 0, 0] = value  # over the padding it must give NaN: 0 * inf
    how = {"padding": 1}
    if backend == "torch":  # in float32 torch skips the padding, in float64 it multiplies it
        expected = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), **how).double().numpy()
    else:
        expected = oracle.conv2d(x, w, None, how)
    assert_equal(fastconv.conv2d(x, w, **how, backend=backend), expected)


@pytest.mark.parametrize("kernel", [3, 7], ids=["window", "whole_image"])
def test_infinite_biases_meet_infinities_without_a_word(kernel: int, backend: str, draw) -> None:
    x, w = draw(1, 2, 7, 7), draw(3, 2, kernel, kernel)
    x[0, 0, 0, 0], w[:, 0, 0, 0] = -np.inf, 1
    b = np.array([np.inf, -np.inf, 1], x.dtype)
    assert_equal(fastconv.conv2d(x, w, b, backend=backend), oracle.conv2d(x, w, b, {}))


def test_grouped_equals_its_parts(backend: str, draw) -> None:
    x, w, grad = draw(2, 6, 7, 6), draw(8, 3, 3, 3), draw(2, 8, 5, 4)
    halves = [(x[:, :3], w[:4], grad[:, :4]), (x[:, 3:], w[4:], grad[:, 4:])]
    whole = fastconv.conv2d(x, w, groups=2, backend=backend)
    parts = [fastconv.conv2d(a, b, backend=backend) for a, b, _ in halves]
    np.testing.assert_allclose(whole, np.concatenate(parts, 1), rtol=1e-4, atol=1e-4)
    for index, (name, axis) in enumerate([("input", 1), ("weight", 0)]):
        whole_grad = fastconv.conv2d_backward(grad, x, w, groups=2, backend=backend)[index]
        part_grads = [fastconv.conv2d_backward(g, a, b, backend=backend)[index] for a, b, g in halves]
        np.testing.assert_allclose(whole_grad, np.concatenate(part_grads, axis), rtol=1e-4, atol=1e-4, err_msg=name)


def test_same_bits_every_run(backend: str, draw) -> None:
    x, w = draw(3, 5, 9, 8), draw(7, 5, 3, 3)
    runs = [fastconv.conv2d(x, w, padding=1, backend=backend).tobytes() for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]
