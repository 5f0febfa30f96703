"""A single call of a graph, which is fastconv's function or torch's, as the tensors of the moment have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Graph, Node

from fastconv import registry
from fastconv.torch.graphs.calls import COUNTERPARTS
from fastconv.torch.internals import is_undisturbed
from fastconv.torch.means import mean_of_pixels
from fastconv.torch.memory import layout_of

Tensor = torch.Tensor

_FOLDED = (torch.float32, torch.float64)
_OURS = (*_FOLDED, torch.float16)
"""torch's bfloat16 convolution is faster than fastconv's, which computes in float32; its float16 one is much slower."""


def put_either(graph: Graph) -> None:
    """Replace torch's convolutions and poolings in a graph, each by a choice between it and fastconv's."""
    for node in graph.nodes:
        if node.op == "call_function" and node.target in COUNTERPARTS and not _is_mean(node):
            node.target = Either(node.target, COUNTERPARTS[node.target])


def put_means(graph: Graph) -> None:
    """Replace torch's means over all pixels, in a graph that records gradients, by those with a smaller gradient."""
    for node in graph.nodes:
        if node.op == "call_function" and _is_mean(node):
            node.target, node.args, node.kwargs = mean_of_pixels, node.args[:1], {}


def _is_mean(node: Node) -> bool:
    """Returns True for the mean over all pixels, of which torch makes one call of its own: 5 us, and 14 here."""
    sizes = (*node.args[1:], *node.kwargs.values())
    return node.target is F.adaptive_avg_pool2d and sizes in [(1,), ((1, 1),), ([1, 1],)]


class Either:
    """A function of torch's that fastconv's counterpart stands in for where that is as fast or faster."""

    def __init__(self, theirs: Callable[..., Any], mine: Callable[..., Any]) -> None:
        self.theirs, self._mine = theirs, mine
        self.__name__ = f"{theirs.__name__}_or_fastconv"

    def __call__(self, input: Tensor, *arguments: Any, **further: Any) -> Any:
        """Returns the result, which is the same to rounding."""
        function = self._mine if _is_ours(input, arguments) else self.theirs
        return function(input, *arguments, **further)


def is_settled(x: Tensor) -> bool:
    """Returns True for numbers in memory that are computed with as they are: no autocast, no transform, no mode."""
    return (
        type(x) is Tensor
        and x.is_cpu
        and x.dtype in _OURS
        and x.layout is torch.strided
        and not torch.is_autocast_enabled("cpu")
        and is_undisturbed()
    )


def is_foldable(x: Tensor) -> bool:
    """Returns True if a folded weight may be used for an image: products of half precision would lose digits."""
    return x.dtype in _FOLDED and is_settled(x)


def _is_ours(x: Tensor, arguments: tuple[Any, ...]) -> bool:
    if not is_settled(x):
        return False
    if x.dtype is not torch.float32 or x.ndim != 4 or registry.get_backend() != "auto":
        return True
    weight = arguments[0] if arguments and isinstance(arguments[0], Tensor) else x
    return layout_of(x, weight) is torch.contiguous_format
