"""When gradients are recorded, and the one way by which our autograd Functions are applied."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function, forward_ad

Tensor = torch.Tensor


def in_transform() -> bool:
    """Returns True inside a transform of `torch.func` (vmap, grad, jvp ...), whose tensors are wrappers."""
    return torch._C._are_functorch_transforms_active()


def in_forward_mode() -> bool:
    """Returns True where forward-mode derivatives may travel with the tensors."""
    return forward_ad._current_level >= 0


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

    torch.compile traces no Function that has a ``jvp``, so that is left to a twin for eager calls.
    """
    function.eager = type(function.__name__, (function,), {"jvp": staticmethod(function.tangent)})
    return function


def apply(function: Any, *arguments: Any) -> Any:
    """Returns the result of a Function made by `with_tangent`.

    The inspection of the signature in `Function.apply` takes 20 us and only transforms need it, so it is skipped
    elsewhere.
    """
    if torch.compiler.is_compiling():
        return function.apply(*arguments)
    if in_transform():
        return function.eager.apply(*arguments)
    return super(Function, function.eager).apply(*arguments)
