"""Layers that follow one another, as one step forwards and one backwards, where their backend has such a step.

A layer's call costs some 100 us of interpreter, dispatcher and sleeping helpers each way, as much as the smaller layers
of LeNet-5 compute. Blocks in a chain leave their results to one another inside compiled code, and autograd sees one
node (chain_autograd.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from fastconv import registry
from fastconv.arguments import make_conv_geometry, make_pool_geometry
from fastconv.backends.base import Backend
from fastconv.backends.block import Activation, Block, Pooling
from fastconv.backends.chain import Chain
from fastconv.errors import ArgumentError
from fastconv.geometry import ConvParameters, PoolParameters
from fastconv.torch import chain_autograd
from fastconv.torch.chain_autograd import Run
from fastconv.torch.memory import DTYPES, is_alike, is_plain, layout_of

Tensor = torch.Tensor

POINT = ConvParameters((1, 1), (0, 0, 0, 0), (1, 1), 1)
"""A linear layer's parameters: it convolves images of one pixel."""

_PAIRS = PoolParameters((2, 2), (2, 2), (0, 0), (1, 1))


class Stage(NamedTuple):
    """A block before the images' shape is known."""

    weight: tuple[int, ...]
    """(K, C / G, R, S), or a linear layer's (K, C)."""
    how: ConvParameters
    activation: Activation | None
    pool: Pooling | None
    residual: bool = False


def single(
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    residual: Tensor | None,
    how: ConvParameters,
    activation: Activation | None,
    pool: Pooling | None,
    backend: str | None,
) -> Tensor | None:
    """Returns the result of one block, or None if no chain can compute it."""
    if not is_plain(x):
        return None
    stages = (Stage(tuple(w.shape), how, activation, pool, residual is not None),)
    residuals = [] if residual is None else [residual]
    run = run_of(registry.resolve(backend), x, stages, [w, b], residuals, flat=False, layers=1)
    return None if run is None else chain_autograd.apply(run, x)


def run_of(
    backend: Backend,
    x: Tensor,
    stages: tuple[Stage, ...],
    parameters: list[Tensor | None],
    residuals: Sequence[Tensor] = (),
    *,
    flat: bool,
    layers: int,
) -> Run | None:
    """Returns the run that does the stages on ``x``, which `is_plain`, or None if the backend has no chain for them.

    Args:
        parameters: each stage's weight and bias.
        residuals: those of the stages that have one.
        flat: whether the result is (N, features).
        layers: the number of layers that the stages do.
    """
    for number, stage in enumerate(stages):
        w, b = parameters[2 * number : 2 * number + 2]
        if w is None or not is_alike(w, x) or not (b is None or (is_alike(b, x) and b.shape == stage.weight[:1])):
            return None
        if w.ndim == 4 and layout_of(w) is not torch.contiguous_format:
            return None
    found = _chain(backend, DTYPES[x.dtype], tuple(x.shape), stages)
    if found is None:
        return None
    N, K, P, Q = found.blocks[-1].result_shape
    run = Run(found, parameters, (N, K * P * Q) if flat else (N, K, P, Q), layers, backend.name)
    return with_residuals(run, x, residuals)


def with_residuals(run: Run, x: Tensor, residuals: Sequence[Tensor]) -> Run | None:
    """Returns a run, which has none, with the residuals of its blocks; None if they don't fit."""
    if not residuals:
        return run
    wanted = [block.geometry.output_shape for block in run.chain.blocks if block.residual]
    for residual, shape in zip(residuals, wanted, strict=True):
        if not is_plain(residual) or residual.dtype is not x.dtype or tuple(residual.shape) != shape:
            return None
    return run._replace(parameters=[*run.parameters, *residuals])


@lru_cache(maxsize=4096)
def _chain(backend: Backend, dtype: Any, image: tuple[int, ...], stages: tuple[Stage, ...]) -> Chain | None:
    """Returns the chain of the stages, or None if they don't fit one another, which the layers' own calls will say."""
    blocks: list[Block] = []
    shape = image
    for stage in stages:
        weight = stage.weight
        if len(weight) == 2:
            shape, weight = (shape[0], math.prod(shape[1:]), 1, 1), (*weight, 1, 1)
        try:
            g = make_conv_geometry(shape, weight, None, stage.how)
            if stage.pool is not None:
                make_pool_geometry(g.output_shape, _PAIRS)
        except ArgumentError:
            return None
        blocks.append(Block(g, stage.activation, stage.pool, stage.residual))
        shape = blocks[-1].result_shape
    return backend.chain(tuple(blocks), dtype)
