"""The function that torch.compile calls with each graph that it captures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from fastconv.errors import ArgumentError
from fastconv.torch.graphs.checkpoints import put_checkpoints
from fastconv.torch.graphs.counts import put_counts
from fastconv.torch.graphs.either import put_either, put_means
from fastconv.torch.graphs.networks.stretches import as_a_function, put_networks
from fastconv.torch.graphs.norms import put_norms
from fastconv.torch.graphs.runs import put_steps


def backend(graph: GraphModule, example_inputs: Sequence[Any], **settings: Any) -> Callable[..., Any]:
    """Returns a function that computes what a graph does, by fastconv where that is as fast or faster.

    Args:
        graph: calls of torch's functions, which this function changes.
        example_inputs: they say whether gradients are recorded; torch.compile gives a graph anew where that changes.
        settings: the ``mode`` and ``options`` of torch.compile, if any are given.

    Raises:
        RuntimeError: a setting, as this backend has none.
    """
    for name, value in settings.items():
        raise ArgumentError(name, repr(value), 'torch.compile(model, backend="fastconv") has no such setting')
    recorded = torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in example_inputs)
    _rewrite(graph, recorded=recorded)
    return as_a_function(graph.graph) or graph.forward


def _rewrite(module: GraphModule, *, recorded: bool) -> None:
    """Replace calls in a graph, and in the graphs of its checkpoints; ``recorded`` says that it records gradients."""
    put_norms(module.graph)
    put_steps(module.graph)
    put_either(module.graph)
    for body in put_checkpoints(module):
        _rewrite(body, recorded=recorded)
    put_counts(module.graph)
    put_networks(module.graph, recorded=recorded)
    if recorded:
        put_means(module.graph)
    module.recompile()
