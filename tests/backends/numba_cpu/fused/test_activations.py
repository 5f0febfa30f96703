"""These tests compare each activation and its gradient with torch's, on every instruction set, and plant faults."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch

from fastconv.backends.block import Activation
from fastconv.backends.numba_cpu.fused.formulas.activations import ACTIVATIONS
from fastconv.backends.numba_cpu.fused.post_op import record_forward, record_gradient
from fastconv.backends.numba_cpu.runtime.program import Program, ProgramBuilder
from fastconv.backends.numba_cpu.simd import Simd, instruction_set
from fastconv.torch.separate import activated

SPECIAL = [0.0, -0.0, 3.0, -3.0, 6.0, -6.0, 1e-30, -1e-30, 20.0, -20.0, 88.0, -88.0, 89.0, 104.0, -104.0, 710.0, -710.0]
INFINITE = [np.inf, -np.inf, np.nan]


@pytest.fixture(params=instruction_set.ALL)
def simd(request: pytest.FixtureRequest, dtype: str) -> Simd:
    return Simd(instruction_set.ALL[request.param], dtype)


def _numbers(simd: Simd) -> np.ndarray:
    """Numbers around each bend of the activations, special ones, and a last vector that isn't full."""
    rng = np.random.default_rng(5)
    drawn = np.concatenate([rng.normal(0, spread, 500) for spread in (1e-3, 1, 4, 40)])
    around = np.concatenate([np.nextafter(np.float64(SPECIAL).astype(simd.dtype), to) for to in (-999, 999)])
    found = np.concatenate([drawn, SPECIAL, around, INFINITE]).astype(simd.dtype)
    return found[: len(found) // simd.lanes * simd.lanes - 1] if len(found) % simd.lanes == 0 else found


def _forward(simd: Simd, name: str | None, count: int, residual: bool) -> Program:
    program = ProgramBuilder()
    source, more, saved, target = (program.operand() for _ in range(4))
    record_forward(program, simd, name, source, target, count, residual=more if residual else None, saved=saved)
    return program.finish()


def _exact(name: str, x: torch.Tensor) -> torch.Tensor:
    """The activation in float64; GELU by formulas without torch's 1 + erf and 1 + tanh, which cancel below 0."""
    if name == "gelu":
        return x * torch.special.erfc(-x / math.sqrt(2)) / 2
    return x * torch.sigmoid(_exponent(x)) if name == "gelu_tanh" else activated(x, name)


def _exponent(x: torch.Tensor) -> torch.Tensor:
    return 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def _units(name: str, simd: Simd, z: np.ndarray) -> np.ndarray | float:
    """The most units in the last place that a result may be off."""
    x = torch.from_numpy(z).double()
    if name == "gelu_tanh":  # The rounding of an exponent grows with it.
        return np.minimum(4 + 2 * _exponent(x).abs().nan_to_num(0, 0).numpy(), 1e4)
    if name == "gelu" and simd.itemsize == 8:  # The same, in torch's erfc: it has no more digits than these.
        return np.minimum(6 + x.square().nan_to_num(0, 0).numpy(), 1e4)
    return 6 if name == "gelu" else 4


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_gradients_are_torch_s(name: str, simd: Simd) -> None:
    z = _numbers(simd)
    exact = torch.from_numpy(z).double().requires_grad_()
    expected = _exact(name, exact)
    by_torch = activated(exact.detach(), name)
    torch.testing.assert_close(expected.detach(), by_torch, rtol=1e-13, atol=1e-13, equal_nan=True)
    y, saved = np.full_like(z, 7.0), np.full_like(z, 7.0)
    assert _forward(simd, name, z.size, residual=False).run((z, None, saved, y))
    np.testing.assert_array_equal(saved, z)
    unit = np.finfo(simd.dtype).eps
    right = expected.detach().numpy()
    finite = np.isfinite(right)
    np.testing.assert_array_equal(y[~finite], right[~finite])
    near = np.where(finite, _units(name, simd, z) * unit * np.abs(right) + np.finfo(simd.dtype).tiny, np.inf)
    off = ~(np.abs(y - np.where(finite, right, 0)) <= near) & finite
    assert not off.any(), (z[off], y[off], right[off])

    grad = np.random.default_rng(6).normal(size=z.size).astype(simd.dtype)
    program = ProgramBuilder()
    places = [program.operand() for _ in range(3)]
    record_gradient(program, simd, name, *places, z.size)
    found = np.full_like(z, 7.0)
    read = z if ACTIVATIONS[name].reads_input else y
    assert program.finish().run((grad, read, found))
    (derivative,) = torch.autograd.grad(activated(exact, name), exact, torch.from_numpy(grad).double())
    right = derivative.numpy()
    # Where tanh is rounded to 1, its derivative, computed from the result, is 0. silu's derivative has a zero nearby.
    near = 4 * unit * np.abs(grad) * np.where(np.isfinite(z), np.maximum(1, np.abs(z)), 1)
    wrong = ~(np.abs(found - right) <= near) & ~(np.isnan(found) & np.isnan(right))
    assert not wrong.any(), (z[wrong], found[wrong], right[wrong])


@pytest.mark.parametrize("name", [None, "relu", "silu"])
def test_a_residual_is_added_first(name: str | None, simd: Simd) -> None:
    z = _numbers(simd)
    residual = np.random.default_rng(7).normal(size=z.size).astype(simd.dtype)
    alone, together, saved = np.empty_like(z), np.empty_like(z), np.empty_like(z)
    _forward(simd, name, z.size, residual=False).run((z + residual, None, saved, alone))
    _forward(simd, name, z.size, residual=True).run((z, residual, saved, together))
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(saved, z + residual)


def test_each_name_of_the_contract_has_a_class() -> None:
    assert tuple(ACTIVATIONS) == get_args(Activation)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_limits_say_what_the_formula_does(name: str) -> None:
    """An activation with limits is done in registers, without its formula."""
    limits = ACTIVATIONS[name].limits
    if limits is not None:
        z = torch.linspace(-9, 9, 37)
        torch.testing.assert_close(activated(z, name), z.clamp(*limits), rtol=0, atol=0)
