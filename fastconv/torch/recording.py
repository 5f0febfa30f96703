"""These functions say when gradients are recorded, and apply our autograd Functions."""

from __future__ import annotations

from typing import Any

import torch

from fastconv.torch.internals import apply_directly, in_forward_mode, in_transform

Tensor = torch.Tensor


def recorded(*tensors: Tensor | None) -> bool:
    """Returns True if a gradient of any of the tensors may be wanted.

    A tensor inside a transform does not say whether the tensor that it wraps requires a gradient, so there the answer
    is always True.
    """
    if in_forward_mode() or in_transform():
        return True
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def with_tangent(function: Any) -> Any:
    """Gives a Function forward mode by its ``tangent``, which is a ``jvp`` under another name.

    torch.compile traces no Function that has a ``jvp``, so that is left to a twin for eager calls, as is ``eagerly``,
    a forward pass that only eager calls may take.
    """
    forward = getattr(function, "eagerly", function.forward)
    parts = {"jvp": staticmethod(function.tangent), "forward": staticmethod(forward)}
    function.eager = type(function.__name__, (function,), parts)
    return function


def apply(function: Any, *arguments: Any) -> Any:
    """Returns the result of a Function made by `with_tangent`."""
    if torch.compiler.is_compiling():
        return function.apply(*arguments)
    if in_transform():
        return function.eager.apply(*arguments)
    return apply_directly(function.eager, *arguments)
