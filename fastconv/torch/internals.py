"""torch's private interfaces, each behind a name of ours: the one file to look at when a new torch changes them.

All of them were seen in torch 2.13.0, and docs/private-interfaces.md says what each is for. Some tell whether anything
but plain computing goes on. Where torch no longer has one of these, all of them answer that it does, so that every call
takes the slower way, which is right in any case. The others are needed: without one, importing `fastconv.torch` fails.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function, forward_ad
from torch.nn.modules import module as every_module
from torch.utils import _pytree

from fastconv.interfaces import Interface, missing, require

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""The attributes in which a layer keeps what is to be called before or after it computes."""

_SPARABLE: tuple[Interface, ...] = (
    (torch._C, "_are_functorch_transforms_active"),
    (torch._C, "_len_torch_dispatch_stack"),
    (torch._C, "_len_torch_function_stack"),
    (torch._C, "_FunctionBase"),
    (forward_ad, "_current_level"),
    (every_module, "_has_any_global_hook"),
    (Tensor, "_backward_hooks"),
    (Tensor, "_post_accumulate_grad_hooks"),
    *((nn.Module(), name) for name in _HOOKS),
)
"""Without one of these, calls take the slower way."""

_NEEDED: tuple[Interface, ...] = (
    (Tensor, "_is_zerotensor"),
    (nn.ConvTranspose2d, "_output_padding"),
    (torch._C, "_get_tracing_state"),
    (_pytree, "tree_leaves"),
    (_pytree, "tree_map"),
)
"""Without one of these, fastconv's layers can't do what torch's do."""


def _is_cautious() -> bool:
    """Returns True, after a warning, if calls have to take the slower way."""
    absent = missing(*_SPARABLE)
    if absent:
        text = (
            f"torch {torch.__version__} has no {absent}: fastconv.torch's layers are slower for it than on torch 2.13.0"
        )
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    return bool(absent)


require("torch", "2.13.0", *_NEEDED)
_CAUTIOUS = _is_cautious()

tree_leaves, tree_map = _pytree.tree_leaves, _pytree.tree_map
"""The values in nested tuples, lists, dicts and what else torch takes apart; and the same nest of other values."""

LIBRARY: str = torch._C.__file__
"""The file with torch's functions for Python, which depends on all others of torch's."""

is_zerotensor = Tensor._is_zerotensor
"""Returns True if a tensor stands for zeros that were never written to memory."""


def in_trace() -> bool:
    """Returns True while torch.jit.trace, or an exporter that builds on it, records operations."""
    return torch._C._get_tracing_state() is not None


def in_transform() -> bool:
    """Returns True inside a transform of `torch.func` (vmap, grad, jvp ...), whose tensors are wrappers."""
    return _may_be() if _CAUTIOUS else torch._C._are_functorch_transforms_active()


def in_forward_mode() -> bool:
    """Returns True where forward-mode derivatives may travel with the tensors."""
    return _may_be() if _CAUTIOUS else forward_ad._current_level >= 0


def is_wrapped(x: Tensor) -> bool:
    """Returns True for a tensor of a transform, which has no memory, or one that has a tangent."""
    if not _CAUTIOUS:
        return in_transform() or in_forward_mode()
    try:
        x.data_ptr()
    except RuntimeError:
        return True
    return forward_ad.unpack_dual(x).tangent is not None


def _may_be() -> bool:
    """Returns the answer that leads to the slower way, except while torch.compile traces.

    The slower way has a Function in the backward pass of another one, which torch.compile refuses.
    """
    return not torch.compiler.is_compiling()


def in_mode() -> bool:
    """Returns True inside a mode that sees torch's functions or operators before they run (fake tensors, counters)."""
    return _CAUTIOUS or torch._C._len_torch_dispatch_stack() != 0 or torch._C._len_torch_function_stack() != 0


def is_undisturbed() -> bool:
    """Returns True if no transform, tracer or mode takes part: tensors hold numbers, and calls compute."""
    # The functions above in one: 0.2 us where the calls of all of them take 0.4.
    if torch.compiler.is_compiling() or _CAUTIOUS:
        return False
    parts = torch._C
    return not (
        parts._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or parts._get_tracing_state() is not None
        or parts._len_torch_dispatch_stack()
        or parts._len_torch_function_stack()
    )


def has_global_hooks() -> bool:
    """Returns True if a hook is called for every module of the process."""
    return _CAUTIOUS or bool(every_module._has_any_global_hook())


def has_hooks(layer: nn.Module) -> bool:
    """Returns True if a hook is called when the layer, or its gradient, is computed."""
    own = vars(layer)
    return _CAUTIOUS or any(own[name] for name in _HOOKS)


def has_gradient_hooks(parameter: Tensor) -> bool:
    """Returns True if a hook is called when the parameter's gradient is computed or kept."""
    return _CAUTIOUS or bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)


def apply_directly(function: Any, *arguments: Any) -> Any:
    """Returns ``function.apply(*arguments)`` for a Function outside of transforms.

    `Function.apply` inspects the signature first, which takes 20 us, and only transforms need it.
    """
    return function.apply(*arguments) if _CAUTIOUS else super(Function, function).apply(*arguments)


def padding_sides(layer: Any) -> list[int]:
    """Returns a convolution's padding as `torch.nn.functional.pad` wants it: left, right, then top, bottom."""
    try:
        return list(layer._reversed_padding_repeated_twice)
    except AttributeError:
        raise AttributeError(
            f"torch {torch.__version__} keeps the padding of {type(layer).__name__} elsewhere than torch 2.13.0; "
            f"padding_mode={layer.padding_mode!r} can't be computed"
        ) from None


def output_padding(layer: Any, input: Tensor, output_size: list[int] | None) -> list[int]:
    """Returns what a transposed convolution adds to one end of its result to give it the size that is asked for."""
    dims = len(layer.kernel_size)
    how = layer.stride, layer.padding, layer.kernel_size, dims, layer.dilation
    return list(layer._output_padding(input, output_size, *how))
