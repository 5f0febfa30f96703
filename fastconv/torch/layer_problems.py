"""The convolutions that a layer's call computes, by which algorithm, and their floating-point operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from fastconv import registry
from fastconv.arguments import conv_geometry, pair, sides
from fastconv.errors import BackendUnavailableError, UnsupportedError
from fastconv.geometry import ConvGeometry, ConvParameters
from fastconv.threads import get_num_threads
from fastconv.torch.internals import padding_sides
from fastconv.torch.modules import Layer
from fastconv.torch.observing import Call
from fastconv.torch.tracing import computes_by_torch

_TRANSPOSES = {"conv2d": "conv2d_input", "conv2d_input": "conv2d"}
"""The operation that computes the input gradient."""


def geometry(layer: Any, call: Call) -> ConvGeometry | None:
    """Returns the convolution that a layer computes, or that it transposes; None for a pooling."""
    transposed = isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d))
    if not transposed and not isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        return None
    assert call.spec is not None
    line = isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d))
    image = call.result if transposed else call.spec.shape
    if len(image) < (3 if line else 4):
        image = (1, *image)

    def lifted(value: tuple[int, ...], neutral: int) -> tuple[int, int]:
        return (neutral, value[0]) if line else (value[0], value[1])

    steps, spread = lifted(layer.stride, 1), lifted(layer.dilation, 1)
    weight = (*layer.weight.shape[:2], *lifted(layer.weight.shape[2:], 1))
    if layer.padding_mode != "zeros":
        grown = padding_sides(layer)[::-1]  # bottom and top, then right and left
        image = (*image[:2], *(size + sum(grown[2 * n : 2 * n + 2]) for n, size in enumerate(image[2:])))
    if line:
        image = (*image[:2], 1, image[2])
    if layer.padding_mode != "zeros":
        around = (0, 0, 0, 0)
    elif isinstance(layer.padding, str):
        around = sides(layer.padding, weight[2:], steps, spread)
    else:
        around = sides(pair("padding", lifted(layer.padding, 0), 0), weight[2:], steps, spread)
    return conv_geometry(image, weight, None, ConvParameters(steps, around, spread, layer.groups))


def algorithm(layer: nn.Module, call: Call, *, gradients: bool) -> str:
    """Returns a layer's backend and its algorithm; with ``gradients`` also those of the input and weight gradients."""
    assert call.spec is not None
    weight = [parameter for name, parameter in layer.named_parameters() if name == "weight"]
    if not isinstance(layer, Layer) or computes_by_torch(layer, call.spec.tensor(), *weight):
        return "torch"
    problem = geometry(layer, call)
    if problem is None:
        name = layer._fastconv_backend or registry.get_backend()
        return _backend("max_pool2d", None, name, call.spec.dtype).name
    forward = "conv2d_input" if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d)) else "conv2d"
    operations = [forward]
    if gradients and call.spec.requires_grad:
        operations.append(_TRANSPOSES[forward])
    if gradients and weight[0].requires_grad:
        operations.append("conv2d_weight")
    name = layer._fastconv_backend or registry.get_backend()
    found = []
    for operation in operations:
        backend = _backend(operation, problem, name, call.spec.dtype)
        chosen = backend.explain(operation, problem, _numpy(call.spec.dtype)).algorithm
        found.append(chosen if chosen != backend.name else "")
    steps = ", ".join(dict.fromkeys(step for step in found if step))
    return f"{backend.name.partition(':')[0]}: {steps}" if steps else backend.name


def operations(layer: nn.Module, call: Call, *, gradients: bool) -> int:
    """Returns the floating-point operations of a layer's call, a multiply-add counted as two; 0 for a pooling."""
    problem = geometry(layer, call)
    if problem is None or call.spec is None:
        return 0
    weight: Any = layer.weight
    return problem.flops * (1 + (gradients and call.spec.requires_grad) + (gradients and weight.requires_grad))


def peak(dtype: torch.dtype) -> float:
    """Returns the floating-point operations a second that fastconv's threads reach in the micro-kernel alone."""
    from fastconv.backends.numba_cpu import planner
    from fastconv.backends.numba_cpu.simd import Simd, instruction_set

    simd = Simd(instruction_set.chosen(), _numpy(dtype).name)
    return 2 * simd.lanes * planner.vectors_a_second(simd) * get_num_threads()


def _backend(operation: str, problem: ConvGeometry | None, name: str, dtype: torch.dtype) -> Any:
    backend = registry.resolve(name)
    try:
        return backend.select(operation, problem, _numpy(dtype))
    except (UnsupportedError, BackendUnavailableError):
        return backend


def _numpy(dtype: torch.dtype) -> Any:
    """Returns the data type that a layer's backend computes in."""
    return np.dtype(np.float64 if dtype is torch.float64 else np.float32)
