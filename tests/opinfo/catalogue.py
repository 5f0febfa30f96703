"""PyTorch's catalogue of sample inputs, `op_db`, and what torch in float64 makes of each.

The catalogue takes some seconds to import, so that is done here alone, at the first sample that is asked for.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

OPERATIONS = (
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "max_pool1d",
    "max_pool2d",
    "max_unpool2d",
    "unfold",
)
"""The functions of the API that the catalogue has."""

UNLISTED = ("fold", "lp_pool1d", "lp_pool2d")
"""Those it hasn't: the fuzz tests and the tables of cases alone speak for them."""

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Sample:
    """One call of a function, and what torch makes of it in float64 on contiguous copies."""

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    expected: Tensors
    cotangents: Tensors
    """One for each result that has gradients, of the sample's data type."""
    gradients: Tensors
    """One for each floating-point tensor among the arguments, in the order of `differentiable`."""

    def __str__(self) -> str:
        described = tree_map_only(torch.Tensor, _description, (self.arguments, self.keywords))
        return f"{described[0]} {described[1]}"


def _description(tensor: torch.Tensor) -> str:
    return f"{tuple(tensor.shape)} strides {tensor.stride()}"


@functools.cache
def entries(operation: str) -> tuple[Any, ...]:
    """The catalogue's entries for an operation: one for each variant of its samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies, none of our business
        from torch.testing._internal.common_methods_invocations import op_db
    return tuple(entry for entry in op_db if entry.name == f"nn.functional.{operation}")


@functools.cache
def samples(operation: str, dtype: str) -> tuple[Sample, ...]:
    """All samples for an operation, with torch's results and gradients."""
    reference = getattr(torch.nn.functional, operation)
    return tuple(
        _judged(reference, (given.input, *given.args), given.kwargs)
        for entry in entries(operation)
        for given in entry.sample_inputs("cpu", getattr(torch, dtype))
    )


def error_inputs(operation: str) -> Iterator[Any]:
    """The calls that torch refuses, each with the type of exception."""
    for entry in entries(operation):
        if entry.error_inputs_func is not None:
            yield from entry.error_inputs("cpu")


def results(returned: Any) -> Tensors:
    """What a function returned, as a tuple: values, and indices where there are some."""
    return tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)


def leaves(value: Any) -> Any:
    """``value`` with its floating-point tensors as new leaves of a graph, on the same memory."""
    return tree_map_only(torch.Tensor, lambda t: t.detach().requires_grad_(t.is_floating_point()), value)


def differentiable(*values: Any) -> list[torch.Tensor]:
    """The tensors that have gradients among arguments, or among results."""
    flat = torch.utils._pytree.tree_leaves(values)
    return [leaf for leaf in flat if isinstance(leaf, torch.Tensor) and leaf.requires_grad]


def _judged(reference: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Sample:
    exact = leaves(tree_map_only(torch.Tensor, _contiguous_double, (arguments, keywords)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel lengths")
        expected = results(reference(*exact[0], **exact[1]))
    roots = differentiable(expected)
    generator = torch.Generator().manual_seed(0)
    cotangents = tuple(torch.randn(root.shape, dtype=arguments[0].dtype, generator=generator) for root in roots)
    gradients = torch.autograd.grad(roots, differentiable(exact), [c.double() for c in cotangents])
    return Sample(arguments, keywords, tuple(e.detach() for e in expected), cotangents, gradients)


def _contiguous_double(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().contiguous()
    return tensor.double() if tensor.is_floating_point() else tensor
