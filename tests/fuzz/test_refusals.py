"""Valid calls with one argument replaced by anything: we refuse when torch refuses, with its type of exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, note

import fastconv
import fastconv.torch

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
    @examples(150)
    @given(mistakes(function))
    def agrees(mistake: Mistake) -> None:
        arrays, arguments = mistake.call.operands, mistake.call.arguments
        tensors = {name: torch.tensor(a) if isinstance(a, np.ndarray) else a for name, a in arrays.items()}
        said = refusal(getattr(torch.nn.functional, function), tensors, arguments)
        for module, operands in ((fastconv, arrays), (fastconv.torch.functional, tensors)):
            ours = refusal(getattr(module, function), operands, arguments)
            note(f"torch: {said!r}; {module.__name__}: {ours!r}")
            assert ours is None or isinstance(ours, OWN)
            assert same(ours, said) or any(difference.applies(mistake, said) for difference in DIFFERENCES)

    agrees()


def same(ours: Exception | None, said: Exception | None) -> bool:
    return ours is None if said is None else isinstance(ours, type(said))
