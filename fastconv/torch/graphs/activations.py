"""The activations that run together with a convolution, by torch's functions."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.fx import Node

from fastconv.backends.block import Activation


class _Form(NamedTuple):
    """A way to write an activation."""

    target: Any
    """torch's function, or the name of a tensor's method."""
    further: tuple[Any, ...]
    """The arguments that it must have besides the tensor, "inplace" left out."""
    activation: Activation
    keywords: tuple[tuple[str, Any], ...] = ()
    """The arguments that it must have by name, "inplace" left out."""


_FORMS = (
    _Form(F.relu, (), "relu"),
    _Form(torch.relu, (), "relu"),
    _Form(torch.relu_, (), "relu"),
    _Form("relu", (), "relu"),
    _Form("relu_", (), "relu"),
    _Form(F.relu6, (), "relu6"),
    _Form(F.hardtanh, (0.0, 6.0), "relu6"),
    _Form(F.tanh, (), "tanh"),
    _Form(torch.tanh, (), "tanh"),
    _Form(torch.tanh_, (), "tanh"),
    _Form("tanh", (), "tanh"),
    _Form("tanh_", (), "tanh"),
    _Form(F.silu, (), "silu"),
    _Form(F.hardswish, (), "hardswish"),
    _Form(F.hardsigmoid, (), "hardsigmoid"),
    _Form(F.leaky_relu, (), "leaky_relu"),
    _Form(F.leaky_relu, (0.01,), "leaky_relu"),
    _Form(torch.sigmoid, (), "sigmoid"),
    _Form(torch.sigmoid_, (), "sigmoid"),
    _Form(F.sigmoid, (), "sigmoid"),
    _Form("sigmoid", (), "sigmoid"),
    _Form("sigmoid_", (), "sigmoid"),
    _Form(F.gelu, (), "gelu"),
    _Form(F.gelu, (), "gelu", (("approximate", "none"),)),
    _Form(F.gelu, (), "gelu_tanh", (("approximate", "tanh"),)),
)
_ALLOWED_INPLACE = (F.relu, F.relu6, F.hardtanh, F.silu, F.hardswish, F.hardsigmoid, F.leaky_relu)
"""Functions whose last argument says whether they write into the first."""


def activation_of(node: Node) -> Activation | None:
    """Returns the activation that a call computes of its first argument, or None if it computes another thing."""
    further = node.args[1:]
    if node.target in _ALLOWED_INPLACE and further and isinstance(further[-1], bool):
        further = further[:-1]
    keywords = tuple([each for each in node.kwargs.items() if each[0] != "inplace"])
    for form in _FORMS:
        if form.target == node.target and (form.further, form.keywords) == (further, keywords):
            return form.activation
    return None
