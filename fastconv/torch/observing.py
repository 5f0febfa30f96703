"""The calls of a model's layers are observed on a copy: the model itself isn't run and isn't touched."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import nn

from fastconv.errors import ArgumentError, ArgumentTypeError
from fastconv.torch.internals import tree_leaves, tree_map
from fastconv.torch.memory import layout_of
from fastconv.torch.swapping import check_module

Tensor = torch.Tensor

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Spec:
    """A tensor's shape, data type, layout and whether it records gradients: all but its values."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool
    requires_grad: bool

    def tensor(self) -> Tensor:
        """Returns a tensor of standard normal numbers, or of zeros where the data type has no such numbers."""
        made = torch.zeros(self.shape, dtype=self.dtype)
        if self.dtype.is_floating_point:
            made.normal_()
        if self.channels_last:
            made = made.contiguous(memory_format=torch.channels_last)
        return made.requires_grad_(self.requires_grad)

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"{size} {str(self.dtype).removeprefix('torch.')}{' channels_last' if self.channels_last else ''}"


@dataclass(frozen=True)
class Call:
    """How a layer was called in one run of its model."""

    name: str
    """The layer's name in the model."""
    inputs: tuple[tuple[Any, ...], dict[str, Any]]
    """The arguments, with a `Spec` in place of each tensor."""
    result: tuple[int, ...]
    """The shape of the (first) result."""
    count: int
    """How many times it was called so."""

    @property
    def spec(self) -> Spec | None:
        """Returns the `Spec` of the first tensor among the arguments, or None."""
        return next((leaf for leaf in tree_leaves(self.inputs) if isinstance(leaf, Spec)), None)


def arguments(example: Any, called: str = "example") -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns a model's positional and named arguments, from the tensor, tuple, list or dict that stands for them.

    Args:
        example: the tensor, tuple, list or dict.
        called: its name in messages, which is the caller's name for it.

    Raises:
        TypeError: none of these.
        RuntimeError: a tensor that isn't on the CPU.
    """
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(example, Tensor):
        args = (example,)
    elif isinstance(example, (tuple, list)):
        args = tuple(example)
    elif isinstance(example, dict):
        kwargs = example
    else:
        allowed = "it must be a tensor, a tuple of arguments or a dict of named arguments"
        raise ArgumentTypeError(called, type(example).__name__, allowed)
    for leaf in tree_leaves((args, kwargs)):
        if isinstance(leaf, Tensor) and leaf.device.type != "cpu":
            raise ArgumentError(called, f"a tensor on {leaf.device}", "layers are measured on the CPU")
    return args, kwargs


def copied(model: M) -> M:
    """Returns a copy with the model's own parameters and with buffers, hooks and attributes of its own.

    Raises:
        RuntimeError: the model holds something that can't be copied.
    """
    check_module(model)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.device.type != "cpu":
            raise ArgumentError("model", f"{name} on {tensor.device}", "layers are measured on the CPU")
    try:
        return copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    except Exception as error:  # a model may hold anything
        allowed = f"it is measured on a copy, and copy.deepcopy fails: {error}"
        raise ArgumentError("model", type(model).__name__, allowed) from error


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Put torch's random generators back afterwards to their states of before; also a decorator."""
    with torch.random.fork_rng():
        yield


def fresh(tree: Any) -> Any:
    """Returns the arguments with copies of their tensors, which may be written to and record gradients as before."""
    return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, tree)


def observe(
    model: nn.Module, example: Any, names: Iterable[str], *, gradients: bool, called: str = "example"
) -> list[Call]:
    """Returns the calls of the layers ``names`` in a run of the model, in order; equal calls are counted.

    Args:
        model: a copy, since its buffers change.
        example, called: as for `arguments`.
        names: of modules in the model.
        gradients: whether gradients are recorded.

    Raises:
        RuntimeError: the model's own error, for an example that doesn't fit it.
    """
    args, kwargs = arguments(example, called)
    seen: Counter[str] = Counter()
    calls: dict[str, Call] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            specs = tree_map(_spec, (args, kwargs))
            key = f"{name} {specs}"
            seen[key] += 1
            result = next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
            calls.setdefault(key, Call(name, specs, tuple(result.shape), 1))

        return hook

    modules = dict(model.named_modules())
    handles = [modules[name].register_forward_hook(note(name), with_kwargs=True) for name in names]
    try:
        with torch.set_grad_enabled(gradients):
            model(*fresh(args), **fresh(kwargs))
    except Exception as error:  # a model may raise anything
        given = ", ".join(str(_spec(leaf)) for leaf in tree_leaves((args, kwargs)))
        allowed = f"the model fails on it: {type(error).__name__}: {error}"
        raise ArgumentError(called, given, allowed) from error
    finally:
        for handle in handles:
            handle.remove()
    return [replace(call, count=seen[key]) for key, call in calls.items()]


def _spec(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    channels_last = leaf.ndim == 4 and layout_of(leaf) is torch.channels_last
    return Spec(tuple(leaf.shape), leaf.dtype, channels_last, leaf.requires_grad)
