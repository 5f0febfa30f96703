"""What torch's catalogue says must be refused is refused, by the type of exception that torch raises."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import is_tensor
from torch.utils._pytree import tree_leaves, tree_map_only

import fastconv
import fastconv.torch

from .catalogue import OPERATIONS, error_inputs

UNCHECKED = ("conv_transpose1d", "conv_transpose2d", "unfold")
"""The operations for which the catalogue has no error inputs."""

every_operation = pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in UNCHECKED])


def expected_type(operation: str, given: Any) -> type[Exception]:
    """torch's type, but for one rule of ours: integer and complex operands are a TypeError.

    torch can convolve them, and calls it a RuntimeError where their types differ.
    """
    tensors = [leaf for leaf in tree_leaves((given.sample_input.input, given.sample_input.args)) if is_tensor(leaf)]
    computed = all(tensor.dtype in (torch.float32, torch.float64) for tensor in tensors)
    return TypeError if operation in ("conv1d", "conv2d") and not computed else given.error_type


@cache
def refusals(operation: str) -> list[tuple[tuple[Any, ...], dict[str, Any], type[Exception]]]:
    """Arguments, keywords and type of exception; there are some. The catalogue takes up to a second to make them."""
    calls = [(given.sample_input, expected_type(operation, given)) for given in error_inputs(operation)]
    assert calls
    return [((sample.input, *sample.args), sample.kwargs, exception) for sample, exception in calls]


def test_the_catalogue_has_no_others() -> None:
    assert not any(list(error_inputs(operation)) for operation in UNCHECKED)


@every_operation
def test_arrays_are_refused(operation: str, backend: str) -> None:
    for arguments, keywords, exception in refusals(operation):
        arrays = tree_map_only(torch.Tensor, lambda tensor: tensor.detach().numpy(), arguments)
        with pytest.raises(exception):
            getattr(fastconv, operation)(*arrays, **keywords, backend=backend)


@every_operation
def test_tensors_are_refused(operation: str, backend: str) -> None:
    for arguments, keywords, exception in refusals(operation):
        with pytest.raises(exception):
            getattr(fastconv.torch.functional, operation)(*arguments, **keywords, backend=backend)
