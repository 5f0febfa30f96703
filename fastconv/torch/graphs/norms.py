"""Puts a batch normalisation that trains, the residual and the activation behind it as one call into a graph.

The calls must directly follow one another, and each must be the only reader of the result before it, as in a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.fx import Graph, Node

from fastconv.torch.graphs.activations import activation_of
from fastconv.torch.graphs.calls import addition, arguments, follows, have_same_sizes
from fastconv.torch.norms import Norm, batch_norm

_OPERANDS = "weight", "bias", "running_mean", "running_var"


@dataclass(frozen=True)
class NormStep:
    """A batch normalisation with what follows it."""

    norm: Norm
    __name__ = "normalisation"

    def __call__(self, x: Tensor, residual: Tensor | None, *vectors: Tensor | None) -> Tensor:
        """Returns the result of the last call; ``vectors`` are gamma, beta and the running statistics."""
        return batch_norm(self.norm, x, residual, *vectors)


def put_norms(graph: Graph) -> None:
    """Replace each batch normalisation by the batch's statistics, and the calls that run together with it."""
    # The last first: what a sum in place writes into must be known as a normalisation's fresh result.
    for node in reversed(list(graph.nodes)):
        call = arguments(node, F.batch_norm)
        if call is not None and call["training"] is True and _is_constant(call):
            _replace(graph, node, call)


def _is_constant(call: dict[str, Any]) -> bool:
    return type(call["momentum"]) is float and type(call["eps"]) is float


def _replace(graph: Graph, node: Node, call: dict[str, Any]) -> None:
    nodes, residual = [node], None
    added = addition(node.next, node) if _joins(node.next, node) else None
    if added is not None and have_same_sizes(node.next, node, added):
        nodes.append(node.next)
        residual = added
    last = nodes[-1]
    activation = activation_of(last.next) if _joins(last.next, last) else None
    if activation is not None:
        nodes.append(last.next)
    step = NormStep(Norm(call["momentum"], call["eps"], activation))
    with graph.inserting_before(node):
        new = graph.call_function(step, (call["input"], residual, *[call[name] for name in _OPERANDS]))
    new.meta = dict(nodes[-1].meta)
    nodes[-1].replace_all_uses_with(new)
    for each in reversed(nodes):
        graph.erase_node(each)


def _joins(node: Node, before: Node) -> bool:
    """Returns True if a call can run together with the one right before it."""
    return node.op in ("call_function", "call_method") and follows(node, before)
