"""Counts the batches of all normalisations in one call, before all others: each would end a stretch of a network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Graph, Node

from fastconv.torch.graphs.calls import is_given


def put_counts(graph: Graph) -> None:
    """Replace the calls that add 1 to integers that nothing else in the graph reads."""
    counts = [node for node in graph.nodes if _counts(node)]
    if not counts:
        return
    first = next(node for node in graph.nodes if node.op not in ("placeholder", "get_attr"))
    with graph.inserting_before(first):
        graph.call_function(count_batches, tuple([node.args[0] for node in counts]))
    for node in counts:
        graph.erase_node(node)


def count_batches(*counters: Tensor) -> None:
    """Adds 1 to each counter."""
    for counter in counters:
        counter.add_(1)


def _counts(node: Node) -> bool:
    if (node.op, node.target) != ("call_method", "add_") or node.users or node.kwargs or node.args[1:] != (1,):
        return False
    counter = node.args[0]
    if not isinstance(counter, Node) or not is_given(counter) or list(counter.users) != [node]:
        return False
    example = counter.meta.get("example_value")
    return isinstance(example, Tensor) and example.dtype is torch.int64 and example.ndim == 0
