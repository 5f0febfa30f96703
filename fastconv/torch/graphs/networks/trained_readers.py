"""Reads calls of a graph that records gradients: those that a network can hold, and the gradients of which it has."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Node

from fastconv.torch.graphs.either import Either
from fastconv.torch.graphs.networks import recipes
from fastconv.torch.graphs.networks.readers import places_of, raw, read
from fastconv.torch.graphs.networks.reading import Reading
from fastconv.torch.graphs.norms import NormStep
from fastconv.torch.graphs.steps import Step


def read_trained(reading: Reading, node: Node) -> bool:
    """Returns True, and has the call in the reading, if a network with gradients can hold it.

    Statistics that stay as they are, and transposed convolutions, are left to the calls by themselves.
    """
    if isinstance(node.target, NormStep):
        return _trained_norm(reading, node)
    if isinstance(node.target, Step) and any(part.eps is not None for part in node.target.parts):
        return False
    if isinstance(node.target, Either) and node.target.theirs is torch.conv_transpose2d:
        return False
    return node.target is not F.batch_norm and read(reading, node)


def _trained_norm(reading: Reading, node: Node) -> bool:
    step: Any = node.target
    image, residual, *vectors = node.args
    places = places_of(reading, vectors)
    if places is None or step.norm.eps <= 0 or (places[2] < 0) != (places[3] < 0):
        return False
    gamma, beta, mean, var = [None if place < 0 else raw(reading, place) for place in places]
    running = None if mean is None or var is None else (mean, var)
    images = [image] if residual is None else [image, residual]
    sources = [reading.value(each) for each in images]
    return reading.writes(node, recipes.Trained(step.norm, gamma, beta, running), *sources)
