"""The catalogue's samples and error inputs for layers, put to fastconv's: torch's results with the same parameters."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import pytest
import torch

import fastconv.torch

from ..tolerance import assert_equal
from .catalogue import results

LAYERS = (
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "MaxPool1d",
    "MaxPool2d",
)


@functools.cache
def entry(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies
        from torch.testing._internal.common_modules import module_db
    (found,) = [info for info in module_db if info.module_cls is getattr(torch.nn, name)]
    return found


def inputs(name: str, dtype: torch.dtype, errors: bool = False) -> list[Any]:
    info = entry(name)
    make = info.module_error_inputs_func if errors else info.module_inputs_func
    return make(info, device="cpu", dtype=dtype, requires_grad=False, training=True)


@pytest.mark.parametrize("layer", LAYERS)
def test_results(layer: str, backend: str, dtype: str) -> None:
    kind = getattr(torch, dtype)
    for given in inputs(layer, kind):
        build, forward = given.constructor_input, given.forward_input
        theirs = getattr(torch.nn, layer)(*build.args, **build.kwargs).double()
        ours = getattr(fastconv.torch, layer)(*build.args, **build.kwargs, backend=backend).to(kind)
        ours.load_state_dict(theirs.state_dict())
        theirs.load_state_dict(ours.state_dict())  # rounded
        expected = results(theirs(*[argument.double() for argument in forward.args]))
        returned = results(ours(*forward.args))
        assert len(returned) == len(expected)
        assert_equal(returned[0].detach().numpy(), expected[0].detach().numpy(), given.desc)
        assert all(torch.equal(indices, right) for indices, right in zip(returned[1:], expected[1:], strict=True))


def test_errors(backend: str) -> None:
    """Of all these layers the catalogue has error inputs for one alone."""
    assert [layer for layer in LAYERS if entry(layer).module_error_inputs_func is not None] == ["MaxPool2d"]
    for given in inputs("MaxPool2d", torch.float32, errors=True):
        build, forward = given.module_error_input.constructor_input, given.module_error_input.forward_input
        layer = fastconv.torch.MaxPool2d(*build.args, **build.kwargs, backend=backend)
        with pytest.raises(given.error_type):
            layer(*forward.args)
