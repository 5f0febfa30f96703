"""Parts of a graph whose results are computed again in the backward pass.

torch's operator for them is for compilers: when it is run, it computes nothing again, and all results are kept.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils.checkpoint import checkpoint

_IN_PLACE = (operator.iadd, operator.isub, operator.imul)


def put_checkpoints(module: GraphModule) -> list[GraphModule]:
    """Replace torch's operator in a graph, and return the parts that it was to compute again.

    A part that says itself which results are kept is left to torch's operator, and keeps them all.
    """
    bodies = []
    for node in module.graph.nodes:
        if node.target is torch.ops.higher_order.tag_activation_checkpoint:
            body = getattr(module, node.args[0].target)
            if "_checkpoint_context_fn" not in body.meta:
                bodies.append(body)
                node.target, node.args = Checkpoint(body), node.args[1:]
    return bodies


class Checkpoint:
    """A part of a graph that runs as `torch.utils.checkpoint.checkpoint` runs a function."""

    def __init__(self, body: GraphModule) -> None:
        self._body = body
        places = enumerate(node for node in body.graph.nodes if node.op == "placeholder")
        self._changed = {at for at, place in places if any(_changes(user, place) for user in place.users)}
        self.__name__ = "checkpoint"

    def __call__(self, *operands: Any, **how: Any) -> Any:
        """Returns the results; ``how`` is what checkpoint takes besides the operands."""
        # An argument that changes before the backward pass is an error, and a counter of batches would be one here.
        free = [each for at, each in enumerate(operands) if at not in self._changed]

        def body(*free: Any) -> Any:
            given = iter(free)
            return self._body(*[each if at in self._changed else next(given) for at, each in enumerate(operands)])

        return checkpoint(body, *free, **how)


def _changes(node: Node, operand: Node) -> bool:
    """Returns True if a call changes an operand in place."""
    if not node.args or node.args[0] is not operand:
        return False
    return str(node.target).endswith("_") if node.op == "call_method" else node.target in _IN_PLACE
