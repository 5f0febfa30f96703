"""Finds the stretches of a graph that a network can hold, and puts one call in the place of each.

A stretch is calls that directly follow one another in the graph, so that nothing can happen between them. What a
network can't hold ends the stretch. In a stretch all results are fresh: it writes to no tensor that something else
reads, and no result is a view of another. A call whose result would be is left to torch, and ends the stretch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from fastconv.torch.graphs.folding import picker
from fastconv.torch.graphs.networks.call import NetworkCall
from fastconv.torch.graphs.networks.readers import read
from fastconv.torch.graphs.networks.reading import Reading
from fastconv.torch.graphs.networks.trained_readers import read_trained
from fastconv.torch.graphs.networks.training import TrainedCall
from fastconv.torch.graphs.norms import NormStep

_FEWEST = 2
"""The fewest recipes of a stretch: one alone is as fast by itself."""

_UNSEEN = "_log_api_usage_once"
"""A function of torch's that computes nothing, which torchvision's layers call."""


def put_networks(graph: Graph, *, recorded: bool) -> None:
    """Replace the calls of each stretch by one call of a network; ``recorded`` says that it has gradients."""
    for node in list(graph.nodes):
        if getattr(node.target, "__name__", "") == _UNSEEN and not node.users:
            graph.erase_node(node)
    # The last first: a stretch refers to the calls whose results it reads.
    for reading in reversed(_stretches(graph, read_trained if recorded else read)):
        results = reading.results()
        if len(reading.lines) >= _FEWEST and results:
            _replace(graph, reading, results, recorded=recorded)


def as_a_function(graph: Graph) -> Callable[..., Any] | None:
    """Returns the function of a graph that is one network with one result and nothing else; None for other graphs.

    torch.fx's own code for MobileNetV3 takes 10 us, since it names and forgets each of 211 operands.
    """
    given = [node for node in graph.nodes if node.op == "placeholder"]
    call, *more = [node for node in graph.nodes if node.op not in ("placeholder", "output")] or [None]
    results = next(node.args[0] for node in reversed(graph.nodes) if node.op == "output")
    if call is None or more or not isinstance(call.target, NetworkCall) or tuple(results) != (call,):
        return None
    network, pick = call.target, picker([given.index(each) for each in call.args])

    def run(*operands: Any) -> tuple[Any]:
        return (network(*pick(operands)),)

    return run


def _stretches(graph: Graph, reads: Callable[[Reading, Node], bool]) -> list[Reading]:
    """Returns the stretches of a graph, in order; a network can give the results of each."""
    left: set[Node] = set()
    while True:
        found = _readings(graph, reads, left)
        more = [node for reading in found for node in reading.not_given()]
        if not more:
            return found
        left.update(more)


def _readings(graph: Graph, reads: Callable[[Reading, Node], bool], left: set[Node]) -> list[Reading]:
    """Returns the stretches of a graph, in order, without the calls that are ``left`` to torch."""
    found = [Reading()]
    for node in graph.nodes:
        if node.op in ("placeholder", "get_attr") or (node not in left and found[-1].takes(node, reads)):
            continue
        found.append(Reading())
        if node in left or not found[-1].takes(node, reads):
            found[-1] = Reading()
    return [reading for reading in found if reading.nodes]


def _replace(graph: Graph, reading: Reading, results: list[Node], *, recorded: bool) -> None:
    wanted = [reading.values[node] for node in results]
    flat = [node.meta["example_value"].ndim == 2 for node in results]
    apart = _extracted(reading, results)
    if recorded:
        call: Any = TrainedCall(reading, wanted, flat, apart.forward, _untouched(apart).forward)
    else:
        call = NetworkCall(reading, wanted, flat, apart.forward)
    with graph.inserting_after(reading.nodes[-1]):
        new = graph.call_function(call, tuple(reading.operands))
    if len(results) == 1:
        new.meta = dict(results[0].meta)
        results[0].replace_all_uses_with(new, delete_user_cb=lambda user: user not in reading.nodes)
    else:
        after = new
        for number, node in enumerate(results):
            with graph.inserting_after(after):
                after = graph.call_function(operator.getitem, (new, number))
            after.meta = dict(node.meta)
            node.replace_all_uses_with(after, delete_user_cb=lambda user: user not in reading.nodes)
    for each in reversed(reading.nodes):
        graph.erase_node(each)


def _extracted(reading: Reading, results: list[Node]) -> GraphModule:
    """Returns the calls of a stretch as a function of its operands."""
    graph = Graph()
    copies = {each: graph.placeholder(f"operand_{at}") for at, each in enumerate(reading.operands)}
    for node in reading.nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
        copies[node].meta = {}  # fake tensors, which refer to the model's
    found = [copies[node] for node in results]
    graph.output(found[0] if len(found) == 1 else tuple(found))
    return GraphModule(torch.nn.Module(), graph)


def _untouched(module: GraphModule) -> GraphModule:
    """Returns a graph that leaves running statistics as they are: results don't depend on them in training."""
    graph = Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    for node in graph.nodes:
        if isinstance(node.target, NormStep):
            node.args = (*node.args[:4], None, None)
    return GraphModule(torch.nn.Module(), graph)
