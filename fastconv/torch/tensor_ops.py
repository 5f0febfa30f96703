"""The operations that the API needs of torch tensors; they record gradients, under autocast too."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from fastconv import known, registry
from fastconv.arguments import conv_geometry
from fastconv.arrays import Shape, register_kind
from fastconv.backends.base import Backend
from fastconv.errors import ArgumentTypeError
from fastconv.geometry import ConvParameters, Pair, PoolParameters
from fastconv.numpy_ops import NumpyOps
from fastconv.torch import adaptive_autograd, autograd, chains, pool_autograd
from fastconv.torch.known import TENSORS
from fastconv.torch.memory import DTYPES, layout_of
from fastconv.torch.ops import HALVES, OPEN, check_indices, check_types
from fastconv.torch.planning import TensorConv2dPlan, array_to_compute
from fastconv.torch.recording import recorded

Tensor = torch.Tensor


class TensorOps:
    """`fastconv.arrays.ArrayOps` for torch tensors."""

    def conv2d(self, x: Tensor, w: Tensor, b: Tensor | None, how: ConvParameters, backend: str | None) -> Tensor:
        check_tensors(weight=w, bias=b)
        x, w, b = under_autocast(x, w, b)
        if not _is_known_in_parts(x, w, b, how, backend):
            result = chains.single(x, w, b, None, how, None, None, backend)
            if result is not None:
                return result
        return autograd.conv2d(x, w, b, *how, chosen(backend))

    def plan_conv2d(
        self, shape: Shape, w: Tensor, b: Tensor | None, how: ConvParameters, backend: str | None
    ) -> TensorConv2dPlan:
        check_tensors(weight=w, bias=b)
        check_types(weight=w, bias=b)
        if not w.is_cpu:
            raise ArgumentTypeError("weight", f"a tensor on {w.device}", "plans are for tensors on the CPU")
        offset = None if b is None else array_to_compute("bias", b)
        plan = NumpyOps().plan_conv2d(shape, array_to_compute("weight", w), offset, how, backend)
        return TensorConv2dPlan(plan, w.dtype, layout_of(w))

    def conv2d_input(self, size: Shape, w: Tensor, grad: Tensor, how: ConvParameters, backend: str | None) -> Tensor:
        check_tensors(weight=w, grad_output=grad)
        w, grad = under_autocast(w, grad)
        return autograd.conv2d_input(size, w, grad, *how, chosen(backend))

    def conv2d_weight(self, x: Tensor, size: Shape, grad: Tensor, how: ConvParameters, backend: str | None) -> Tensor:
        check_tensors(input=x, grad_output=grad)
        x, grad = under_autocast(x, grad)
        return autograd.conv2d_weight(x, size, grad, *how, chosen(backend))

    def max_pool2d(self, x: Tensor, how: PoolParameters, backend: str | None) -> tuple[Tensor, Tensor]:
        return pool_autograd.max_pool2d(x, *how[:5], chosen(backend))

    def max_pool2d_values(self, x: Tensor, how: PoolParameters, backend: str | None) -> Tensor:
        return pool_autograd.max_pool2d_values(x, *how[:5], chosen(backend))

    def max_pool2d_backward(self, grad: Tensor, indices: Tensor, size: Pair, backend: str | None) -> Tensor:
        check_tensors(indices=indices)
        return pool_autograd.max_pool2d_backward(grad, indices, size, chosen(backend))

    def avg_pool2d(self, x: Tensor, how: PoolParameters, backend: str | None) -> Tensor:
        return pool_autograd.avg_pool2d(x, *how, chosen(backend))

    def avg_pool2d_backward(self, grad: Tensor, size: Shape, how: PoolParameters, backend: str | None) -> Tensor:
        return pool_autograd.avg_pool2d_backward(grad, size, *how, chosen(backend))

    def adaptive_max_pool2d(self, x: Tensor, size: Pair, backend: str | None) -> tuple[Tensor, Tensor]:
        return adaptive_autograd.adaptive_max_pool2d(x, size, chosen(backend))

    def adaptive_max_pool2d_values(self, x: Tensor, size: Pair, backend: str | None) -> Tensor:
        return adaptive_autograd.adaptive_max_pool2d_values(x, size, chosen(backend))

    def adaptive_avg_pool2d(self, x: Tensor, size: Pair, backend: str | None) -> Tensor:
        return adaptive_autograd.adaptive_avg_pool2d(x, size, chosen(backend))

    def unfold(self, x: Tensor, kernel: Pair, how: ConvParameters, backend: str | None) -> Tensor:
        return autograd.unfold(x, kernel, *how, chosen(backend))

    def fold(self, columns: Tensor, size: Pair, kernel: Pair, how: ConvParameters, backend: str | None) -> Tensor:
        return autograd.fold(columns, size, kernel, *how, chosen(backend))

    def pad(self, x: Tensor, rows: int, columns: int) -> Tensor:
        return torch.nn.functional.pad(x, (0, columns, 0, rows))

    def scatter(self, x: Tensor, indices: Tensor, size: Pair) -> Tensor:
        check_tensors(indices=indices)
        check_types(input=x)
        check_indices(indices, size, lowest=0)
        planes = x.new_zeros((*x.shape[:2], size[0] * size[1]))
        return planes.scatter(2, indices.flatten(2), x.flatten(2)).unflatten(2, size)

    def channel_sum(self, x: Tensor, channels: int, backend: str | None) -> Tensor:
        return autograd.channel_sum(x, channels)

    def add_bias(self, x: Tensor, b: Tensor) -> Tensor:
        return x + b[:, None, None]

    def power(self, x: Tensor, exponent: float) -> Tensor:
        return x.pow(exponent)

    def root(self, x: Tensor, count: int, degree: float) -> Tensor:
        # Not a plain power: relu's gradient at 0 is 0, which keeps 0 ** (1 / degree) from giving NaN backwards.
        return (torch.sign(x) * torch.relu(torch.abs(x))).mul(count).pow(1.0 / degree)

    def operands(self, **tensors: Any) -> tuple[list[Any], torch.dtype]:
        check_tensors(**tensors)
        cast = under_autocast(*tensors.values()) if "weight" in tensors else tuple(tensors.values())
        check_types(**dict(zip(tensors, cast, strict=True)))
        return [t.float() if t is not None and t.dtype in HALVES else t for t in cast], cast[0].dtype

    def cast(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return x.to(dtype)


def _is_known_in_parts(x: Tensor, w: Tensor, b: Tensor | None, how: ConvParameters, backend: str | None) -> bool:
    """Returns True for a convolution with gradients whose passes are three calls that compiled code knows.

    These take three fifths of the time of a chain of one block.
    """
    if torch.compiler.is_compiling() or not TENSORS.answers or not recorded(x, w, b):
        return False
    if not x.is_cpu or x.dtype not in (torch.float32, torch.float64) or x.dtype is not w.dtype:
        return False
    return _is_short(registry.resolve(backend), tuple(x.shape), tuple(w.shape), how, DTYPES[x.dtype])


@lru_cache(maxsize=4096)
def _is_short(
    backend: Backend, image: tuple[int, ...], weight: tuple[int, ...], how: ConvParameters, dtype: np.dtype[Any]
) -> bool:
    """Returns True if a convolution and both its gradients have short programs."""
    g = conv_geometry(image, weight, None, how)
    names = "conv2d", "conv2d_input", "conv2d_weight"
    return all(backend.select(name, g, dtype).short(name, g, dtype, 2) is not None for name in names)


def chosen(backend: str | None) -> str:
    """Returns the backend's name, fixed now so that the backward pass uses the same backend.

    torch.compile can't trace a context variable: there an unnamed backend stays open until the graph runs, its
    backward part too.
    """
    if torch.compiler.is_compiling():
        return OPEN if backend is None else backend
    return registry.resolve(backend).name


_WITH_AUTOCAST = frozenset(
    kind
    for kind in ("cpu", "cuda", "xpu", "mps", "hpu", "ipu", "xla", "mtia", "maia", "privateuseone")
    if torch.amp.is_autocast_available(kind)
)
"""Kinds of device that autocast knows. torch.compile before 2.13 can't trace the question, and to mark a function as
constant for it imports all of Dynamo, 0.6 to 1.8 s."""


def under_autocast(*operands: Any) -> Any:
    """Returns the operands of a convolution in autocast's data type, where autocast is on."""
    if operands[0].is_cpu and not torch.is_autocast_enabled("cpu"):
        return operands
    device = operands[0].device.type
    if device not in _WITH_AUTOCAST or not torch.is_autocast_enabled(device):
        return operands
    dtype = torch.get_autocast_dtype(device)
    single = torch.float32
    return tuple(t.to(dtype) if t is not None and t.dtype in (single, *HALVES) else t for t in operands)


def check_tensors(**operands: Any) -> None:
    """Refuse operands that aren't tensors; None stands for an operand that is left out."""
    for name, operand in operands.items():
        if operand is not None and not isinstance(operand, torch.Tensor):
            raise ArgumentTypeError(name, type(operand).__name__, "it must be a torch.Tensor like the other operands")


register_kind(torch.Tensor, TensorOps())
known.add_tensors(TENSORS)
