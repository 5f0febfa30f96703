"""A network of torch's own layers that computes what one of fastconv's layers does."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy

from torch import nn

from fastconv.torch import ConvBlock2d, Sequential
from fastconv.torch.modules import Layer

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}
POOLINGS: dict[str, type[nn.MaxPool2d | nn.AvgPool2d]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


def plain(model: nn.Module) -> nn.Module:
    """Returns a copy of ``model`` whose convolutions and poolings are torch's; a block becomes its two or three layers.

    `fastconv.torch.revert` undoes a conversion and leaves layers that were made as fastconv's; this takes those too.
    """
    return _torchs(deepcopy(model))


def _torchs(layer: nn.Module) -> nn.Module:
    for name, child in layer.named_children():
        setattr(layer, name, _torchs(child))
    if isinstance(layer, Sequential):
        return nn.Sequential(OrderedDict(layer.named_children()))
    if not isinstance(layer, Layer):
        return layer
    following: list[nn.Module] = []
    if isinstance(layer, ConvBlock2d):
        following += [ACTIVATIONS[layer.activation]()] if layer.activation else []
        following += [POOLINGS[layer.pool](2)] if layer.pool else []
    layer.__class__ = next(cls for cls in type(layer).__mro__ if cls.__module__.startswith("torch.nn."))
    return nn.Sequential(layer, *following) if following else layer
