"""The function that torch.compile calls with each graph that it captures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.fx import GraphModule

from fastconv.errors import ArgumentError
from fastconv.torch.graphs.checkpoints import put_checkpoints
from fastconv.torch.graphs.either import put_either
from fastconv.torch.graphs.norms import put_norms
from fastconv.torch.graphs.runs import put_steps


def backend(graph: GraphModule, example_inputs: Sequence[Any], **settings: Any) -> Callable[..., Any]:
    """Returns a function that computes what a graph does, by fastconv where that is as fast or faster.

    Args:
        graph: calls of torch's functions, which this function changes.
        example_inputs: not looked at, since what arrives is seen when the graph runs.
        settings: the ``mode`` and ``options`` of torch.compile, if any are given.

    Raises:
        RuntimeError: a setting, as this backend has none.
    """
    for name, value in settings.items():
        raise ArgumentError(name, repr(value), 'torch.compile(model, backend="fastconv") has no such setting')
    _rewrite(graph)
    return graph.forward


def _rewrite(module: GraphModule) -> None:
    """Replace calls in a graph, and in the graphs of its checkpoints."""
    put_norms(module.graph)
    put_steps(module.graph)
    put_either(module.graph)
    for body in put_checkpoints(module):
        _rewrite(body)
    module.recompile()
