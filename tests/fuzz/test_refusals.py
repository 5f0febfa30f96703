"""Valid calls with one argument replaced by anything: we refuse when torch refuses, with its type of exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given

import fastconv
import fastconv.torch

from .calls import Call
from .differences import DIFFERENCES
from .effort import examples
from .functions import FORWARD
from .mistakes import Mistake, mistakes

OWN = (
    fastconv.ArgumentError,
    fastconv.ArgumentTypeError,
    fastconv.ArgumentValueError,
    ZeroDivisionError,  # a norm of 0, as in torch
    NotImplementedError,  # torch's own, where a tensor's type knows no magnitudes
)
"""What a refusal may be: an exception that names the argument, with two exceptions."""


def refusal(function: Callable[..., Any], operands: dict[str, Any], arguments: dict[str, Any]) -> Exception | None:
    try:
        function(**operands, **arguments)
    except Exception as error:  # any that there is
        return error
    return None


@pytest.mark.parametrize("function", FORWARD)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_refusals(function: str) -> None:
    examples(150)(given(mistakes(function))(check))()


@pytest.mark.parametrize("function", ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"])
@pytest.mark.parametrize("value", [0, (0,)])
@pytest.mark.parametrize("size", [0, 1])
def test_a_dilation_of_0(function: str, value: Any, size: int) -> None:
    """Random calls seldom have it together with an empty batch."""
    pixels = (5,) * int(function[-2])
    x, w = np.ones((size, 1, *pixels), np.float32), np.ones((1, 1, *pixels), np.float32)
    arguments = {"stride": 1, "padding": 0, "dilation": value}
    check(Mistake(Call(function, {"input": x, "weight": w}, arguments), "dilation"))


def check(mistake: Mistake) -> None:
    """Passes if both kinds of array are refused as torch refuses them, but for the known differences."""
    function, arrays, arguments = mistake.call.function, mistake.call.operands, mistake.call.arguments
    tensors = {name: torch.tensor(a) if isinstance(a, np.ndarray) else a for name, a in arrays.items()}
    said = refusal(getattr(torch.nn.functional, function), tensors, arguments)
    for module, operands in ((fastconv, arrays), (fastconv.torch.functional, tensors)):
        ours = refusal(getattr(module, function), operands, arguments)
        told = f"torch: {said!r}; {module.__name__}: {ours!r}"
        assert ours is None or isinstance(ours, OWN), told
        assert same(ours, said) or any(difference.applies(mistake, said) for difference in DIFFERENCES), told


def same(ours: Exception | None, said: Exception | None) -> bool:
    return ours is None if said is None else isinstance(ours, type(said))
