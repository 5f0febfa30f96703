"""Make one `ConvBlock2d` of a convolution, an activation and a pooling that follow one another, and take it apart."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from torch import nn

from fastconv.torch.blocks import ConvBlock2d
from fastconv.torch.modules import AvgPool2d, Conv2d, MaxPool2d

_ACTIVATIONS: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.Tanh: "tanh"}

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Fused(nn.Module):
    """Stands where a layer was whose work a block does now, and gives its input."""

    def __init__(self, replaced: nn.Module) -> None:
        super().__init__()
        # Not as a module of its own: it is no part of the model while it does nothing.
        object.__setattr__(self, "replaced", replaced)

    def forward(self, input: Any) -> Any:
        return input

    def extra_repr(self) -> str:
        return type(vars(self)["replaced"]).__name__


def fuse(model: nn.Module, allowed: set[nn.Module]) -> None:
    """Fuse what follows one another in a model's Sequentials; of convolutions and poolings those in ``allowed``."""
    places = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    for sequence in [each for each in model.modules() if type(each).forward is nn.Sequential.forward]:
        children: list[tuple[str, Any]] = list(sequence._modules.items())
        for (_, first), (name, second) in pairwise(children):
            activation = _ACTIVATIONS.get(type(second))
            if type(first) is Conv2d and first in allowed and activation and _is_free(places, first, second):
                first.__class__ = ConvBlock2d
                vars(first).update(activation=activation, pool=None)
                sequence._modules[name] = Fused(second)
        children = list(sequence._modules.items())
        for (_, first), (_, second), (name, third) in zip(children, children[1:], children[2:], strict=False):
            pool = _pool(third) if third in allowed else None
            pending = type(first) is ConvBlock2d and first.pool is None and type(second) is Fused
            if pending and pool and _is_free(places, first, third):
                first.pool = pool
                sequence._modules[name] = Fused(third)


def separate(model: nn.Module) -> None:
    """Undo `fuse`."""
    for sequence in [each for each in model.modules() if isinstance(each, nn.Sequential)]:
        before: Any = None
        for name, child in list[tuple[str, Any]](sequence._modules.items()):
            if type(child) is Fused:
                sequence._modules[name] = vars(child)["replaced"]
                if type(before) is ConvBlock2d:
                    before.__class__ = Conv2d  # type: ignore[assignment]
                    del before.activation, before.pool
            else:
                before = child


def _is_free(places: Counter[nn.Module], *layers: nn.Module) -> bool:
    """Whether layers stand in one place each, and nobody listens to what they do."""
    return all(places[layer] == 1 and not any(getattr(layer, hooks) for hooks in _HOOKS) for layer in layers)


def _pool(layer: nn.Module) -> str | None:
    """Which pooling of 2 x 2 windows a layer is, if it is one."""
    if type(layer) not in (MaxPool2d, AvgPool2d):
        return None
    pairs = [value if isinstance(value, tuple) else (value, value) for value in (layer.kernel_size, layer.stride)]
    if pairs != [(2, 2), (2, 2)] or layer.padding not in (0, (0, 0)) or layer.ceil_mode:
        return None
    if isinstance(layer, MaxPool2d):
        return "max" if layer.dilation in (1, (1, 1)) and not layer.return_indices else None
    return "avg" if layer.divisor_override in (None, 4) else None
