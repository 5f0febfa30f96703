"""Every function on tensors: torch's values, and torch's gradients for every operand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import fastconv.torch

from .agreement import assert_right, tolerance
from .calls import Call
from .effort import examples
from .functions import FORWARD, GRADIENTS
from .layouts import TENSOR_LAYOUTS
from .reference import compute, expected, tensors, touched

LARGEST = 4
"""Of a cotangent's whole numbers."""


def laid_out(data: st.DataObject, call: Call, dtype: str) -> tuple[Call, dict[str, torch.Tensor | None]]:
    """The call with operands in layouts of their own, and these as tensors on the same memory, leaves of a graph."""
    operands: dict[str, np.ndarray | None] = {}
    for name, values in call.operands.items():
        if values is None or values.dtype.kind == "i":
            operands[name] = values
        else:
            layout = data.draw(st.sampled_from(TENSOR_LAYOUTS), label=f"layout of {name}")
            operands[name] = layout(values.astype(dtype))
    return call.on(**operands), {name: None if a is None else _leaf(a) for name, a in operands.items()}


def _leaf(array: np.ndarray) -> torch.Tensor:
    if not array.flags.writeable:  # torch would warn: the stride of 0 is put back by expand
        axis = array.strides.index(0) if 0 in array.strides else 0
        return (
            torch.from_numpy(array.take([0], axis)).expand(array.shape).requires_grad_() if array.size else _copy(array)
        )
    return torch.from_numpy(array).requires_grad_(array.dtype.kind == "f")


def _copy(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy()).requires_grad_()


@pytest.mark.parametrize("function", FORWARD)
def test_gradients(function: str, backend: str) -> None:
    @examples(40)
    @given(st.data(), FORWARD[function], st.sampled_from(["float32", "float64"]))
    def agrees(data: st.DataObject, call: Call, dtype: str) -> None:
        call, operands = laid_out(data, call, dtype)
        if function.startswith("max_pool"):  # elsewhere torch's gradient goes to a random place
            assume(touched(call).all())
        if function.startswith("adaptive"):  # torch can pool to nothing, but not backwards
            assume(0 not in expected(call)[0].shape[1:])
        exact = tensors(call, gradients=True)
        value = _values(getattr(fastconv.torch.functional, function)(**operands, **call.arguments, backend=backend))
        right = compute(function, exact, call.arguments)[0]
        assert_right(value.detach().numpy(), right.detach().numpy(), tolerance(function, dtype))

        seed = data.draw(st.integers(0, 2**32 - 1), label="seed")
        whole = np.random.default_rng(seed).integers(-LARGEST, LARGEST + 1, value.shape)
        gradients = _gradients(value, operands, torch.from_numpy(whole))
        for name, slope in _gradients(right, exact, torch.from_numpy(whole)).items():
            assert gradients[name].dtype == operands[name].dtype
            bound = LARGEST * tolerance(function, dtype)
            assert_right(gradients[name].numpy(), slope.numpy(), bound, f"gradient of {name}")

    agrees()


@pytest.mark.parametrize("function", GRADIENTS)
def test_explicit_gradients(function: str, backend: str) -> None:
    """The functions that are gradients themselves, on tensors, with a batch and without."""

    @examples(20)
    @given(st.data(), GRADIENTS[function], st.sampled_from(["float32", "float64"]))
    def agrees(data: st.DataObject, call: Call, dtype: str) -> None:
        call, operands = laid_out(data, call, dtype)
        results = getattr(fastconv.torch.functional, function)(**operands, **call.arguments, backend=backend)
        found = results if isinstance(results, tuple) else (results,)
        for result, exact in zip(found, expected(call), strict=True):
            assert_right(result.detach().numpy(), exact, tolerance(function, dtype))

    agrees()


def _values(result: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    if isinstance(result, tuple):
        assert not result[1].requires_grad
        return result[0]
    return result


def _gradients(
    value: torch.Tensor, operands: dict[str, torch.Tensor | None], cotangent: torch.Tensor
) -> dict[str, torch.Tensor]:
    leaves = {name: t for name, t in operands.items() if t is not None and t.requires_grad}
    return dict(zip(leaves, torch.autograd.grad(value, list(leaves.values()), cotangent.to(value.dtype)), strict=True))
