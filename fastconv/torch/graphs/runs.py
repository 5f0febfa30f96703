"""Finds the calls of a graph that run together, and puts a step in their place.

A run begins with a convolution and takes in the call that directly follows the one before, if it is the only reader of
that one's result: so nothing can happen between them, and nothing else sees what is between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Graph, GraphModule, Node

from fastconv.backends.block import Activation, Pooling
from fastconv.geometry import ConvParameters
from fastconv.torch.chains import POINT, Stage
from fastconv.torch.graphs.activations import activation_of
from fastconv.torch.graphs.calls import (
    addition,
    arguments,
    convolution,
    follows,
    have_same_sizes,
    is_flattening,
    is_given,
    pooling,
    sizes,
)
from fastconv.torch.graphs.either import put_either
from fastconv.torch.graphs.steps import Part, Step

_STATISTICS = "running_mean", "running_var"


@dataclass
class _Part:
    """A convolution or linear layer in a graph, and the calls that follow it."""

    call: Node
    how: ConvParameters
    norm: Node | None = None
    activation: Activation | None = None
    pool: Pooling | None = None
    sum: Node | None = None
    """The call that adds a residual."""


@dataclass
class _Run:
    """Calls that run together."""

    nodes: list[Node] = field(default_factory=list)
    parts: list[_Part] = field(default_factory=list)
    flat: bool = False

    def takes(self, node: Node) -> bool:
        """Returns True, and has the call as its last one, if the call can run together with those before."""
        if self.nodes and not follows(node, self.nodes[-1]):
            return False
        taken = self._takes_layer(node) or (bool(self.nodes) and self._takes_following(node))
        if taken:
            self.nodes.append(node)
        return taken

    def _takes_layer(self, node: Node) -> bool:
        call = arguments(node, torch.conv2d, F.linear)
        if call is None or not isinstance(call["weight"], Node) or not isinstance(call["bias"], Node | None):
            return False
        if node.target is F.linear:
            how = POINT if self.flat else None
        else:
            how = None if self.flat or len(sizes(call["input"]) or ()) != 4 else convolution(call, call["weight"])
        if how is None:
            return False
        self.parts.append(_Part(node, how))
        return True

    def _takes_following(self, node: Node) -> bool:
        last = self.parts[-1]
        if is_flattening(node):
            self.flat = True
            return True
        if (dropout := arguments(node, F.dropout)) is not None:
            return dropout["training"] is False
        if (norm := arguments(node, F.batch_norm)) is not None:
            return not self.flat and self._takes_norm(node, norm)
        if (added := addition(node, self.nodes[-1])) is not None:
            return not self.flat and self._takes_residual(node, added)
        activation = activation_of(node)
        if activation is not None:
            # A rectifier gives the same before max pooling as behind it.
            swaps = activation == "relu" and last.sum is None
            if last.activation is not None or last.pool not in (None, "max" if swaps else None):
                return False
            last.activation = activation
            return True
        pool = pooling(node)
        if pool is None or last.pool is not None or self.flat:
            return False
        last.pool = pool
        return True

    def _takes_residual(self, node: Node, added: Node) -> bool:
        last = self.parts[-1]
        if (last.sum, last.activation, last.pool) != (None, None, None) or added in self.nodes:
            return False
        if not have_same_sizes(node, self.nodes[-1], added):
            return False
        last.sum = node
        return True

    def _takes_norm(self, node: Node, call: dict[str, Any]) -> bool:
        last = self.parts[-1]
        if call["training"] is not False or type(call["eps"]) is not float or not is_given(call["running_mean"]):
            return False
        # A weight that the graph computes would be folded again in each call, which costs more than it saves.
        if not is_given(call["running_var"]) or not is_given(_arguments(last.call)["weight"]):
            return False
        if (last.norm, last.activation, last.pool, last.sum) != (None, None, None, None):
            return False
        last.norm = node
        return True


def put_steps(graph: Graph) -> None:
    """Replace the calls of each run by one call of a step."""
    for run in _runs(graph):
        _replace(graph, run)


def _runs(graph: Graph) -> list[_Run]:
    """Returns the runs of a graph, in order."""
    found = [_Run()]
    for node in graph.nodes:
        if node.op in ("placeholder", "get_attr") or found[-1].takes(node):
            continue
        found.append(_Run())
        found[-1].takes(node)
    return [run for run in found if run.nodes]


def _replace(graph: Graph, run: _Run) -> None:
    operands = _operands(run)
    at: dict[Node | None, int] = {None: -1, **{node: number for number, node in enumerate(operands)}}
    parts = []
    for part in run.parts:
        layer = _arguments(part.call)
        norm: tuple[int, ...] = ()
        eps = None
        if part.norm is not None:
            call = _arguments(part.norm)
            norm = tuple([at[call[name]] for name in (*_STATISTICS, "weight", "bias")])
            eps = call["eps"]
        weight, residual = tuple(sizes(layer["weight"]) or ()), None
        if part.sum is not None:
            (residual,) = [at[each] for each in part.sum.all_input_nodes if each not in run.nodes]
        stage = Stage(weight, part.how, part.activation, part.pool, part.sum is not None)
        parts.append(Part(stage, at[layer["weight"]], at[layer["bias"]], norm, eps, residual))
    separate, folded = _extracted(run, operands, folds=False), _extracted(run, operands, folds=True)
    step = Step(parts, run.flat, separate.forward, folded.forward)
    with graph.inserting_before(run.nodes[0]):
        node = graph.call_function(step, tuple(operands))
    last = run.nodes[-1]
    node.meta = dict(last.meta)
    last.replace_all_uses_with(node)
    for each in reversed(run.nodes):
        graph.erase_node(each)


def _arguments(node: Node) -> dict[str, Any]:
    """Returns the arguments of a layer's call in torch's order: those of convolution and linear begin alike."""
    call = arguments(node, torch.conv2d, F.linear, F.batch_norm)
    assert call is not None
    return call


def _operands(run: _Run) -> list[Node]:
    """Returns what a run reads of others, the images first."""
    inputs = [_arguments(run.nodes[0])["input"], *(each for node in run.nodes for each in node.all_input_nodes)]
    return [each for each in dict.fromkeys(inputs) if each not in run.nodes]


def _extracted(run: _Run, operands: list[Node], *, folds: bool) -> GraphModule:
    """Returns the calls of a run as a function of its operands.

    If it ``folds``, normalisations are left out, and each part's weight and bias come behind the operands.
    """
    graph = Graph()
    copies: dict[Node, Node] = {each: graph.placeholder(f"operand_{at}") for at, each in enumerate(operands)}
    given: dict[Node, list[Node]] = {}
    for part in run.parts if folds else ():
        given[part.call] = [graph.placeholder(f"{name}_{len(given)}") for name in ("weight", "bias")]
    for node in run.nodes:
        if folds and any(node is part.norm for part in run.parts):
            copies[node] = copies[node.args[0]]  # type: ignore[index]
            continue
        copies[node] = copied = graph.node_copy(node, copies.__getitem__)
        copied.meta = {}  # fake tensors, which refer to the model's
        if node in given:
            images, _, _, *how = _arguments(node).values()
            copied.args, copied.kwargs = (copies[images], *given[node], *how), {}
    graph.output(copies[run.nodes[-1]])
    put_either(graph)
    return GraphModule(torch.nn.Module(), graph)
