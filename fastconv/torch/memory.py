"""Checks of tensors whose addresses go to compiled code, which reads what it is told to without a further look."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from fastconv.torch.internals import has_global_hooks, is_undisturbed, is_zerotensor

Tensor = torch.Tensor

DTYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.uint8: np.dtype(np.uint8),
}
"""NumPy's types for torch's."""
_COMPUTED = (torch.float32, torch.float64)


def is_plain(x: Tensor) -> bool:
    """Returns True if a chain may take a tensor of images, judged by the tensor and by the modes that are on."""
    return (
        type(x) is Tensor
        and x.ndim == 4
        and x.dtype in _COMPUTED
        and x.is_cpu
        and x.is_contiguous()
        and layout_of(x) is torch.contiguous_format
        and not torch.is_autocast_enabled("cpu")
        and is_undisturbed()  # a transform's tensors have no memory
        and not x.is_neg()
        and is_held(x)
        and not has_global_hooks()
    )


def is_alike(parameter: Tensor, x: Tensor) -> bool:
    """Returns True if compiled code may read a parameter beside images ``x``, which are plain."""
    return (
        parameter.dtype is x.dtype
        and parameter.is_cpu
        and parameter.is_contiguous()
        and not parameter.is_neg()
        and is_held(parameter)
        and type(parameter) in (nn.Parameter, Tensor)
    )


def layout_of(*tensors: Tensor) -> torch.memory_format:
    """Returns channels_last if one of the tensors is in that layout, as torch's convolution does."""
    for tensor in tensors:
        if _is_channels_last(tensor):
            return torch.channels_last
    return torch.contiguous_format


def _is_channels_last(x: Tensor) -> bool:
    """Returns True by the strides alone: an image of one channel may be channels_last, one of one pixel is not."""
    if x.stride(1) != 1 or not x.is_contiguous(memory_format=torch.channels_last):
        return False
    return x.stride(3) == x.shape[1] and x.shape[1] * x.shape[2] * x.shape[3] > 1


def version(x: Tensor | None) -> int:
    """Returns how often a tensor was changed in place."""
    return 0 if x is None or x.is_inference() else x._version


_VERSION = operator.attrgetter("_version")


def versions(tensors: Iterable[Tensor]) -> list[int]:
    """Returns the `version` of each tensor."""
    tensors = list(tensors)
    try:
        return list(map(_VERSION, tensors))  # a third of the time
    except RuntimeError:
        return [version(x) for x in tensors]


def has_storage(x: Tensor) -> bool:
    """Returns False if x stands for other tensors, as a batch of gradients does under ``is_grads_batched``."""
    try:
        x.untyped_storage()
    except NotImplementedError:
        return False
    return True


def is_held(x: Tensor) -> bool:
    """Returns True if the memory of a contiguous tensor has all of its elements.

    A tensor of zeros that torch has not written has none, and neither has one whose storage was resized to 0.
    """
    if is_zerotensor(x):
        return False
    return x.untyped_storage().nbytes() >= (x.storage_offset() + x.numel()) * x.element_size()


def check_held(name: str, x: Tensor) -> None:
    """Refuse a tensor whose storage is smaller than its sizes and strides say.

    Raises:
        RuntimeError: as torch does where there is no storage at all.
    """
    if x.numel() == 0 or (x.is_contiguous() and is_held(x)):
        return
    last = x.storage_offset() + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    there = x.untyped_storage().nbytes()
    if there < (last + 1) * x.element_size():
        raise RuntimeError(
            f"{name}: got a tensor of shape {tuple(x.shape)} whose storage holds {there} bytes; it must hold "
            f"{(last + 1) * x.element_size()}, so something resized it"
        )


class _Elements:
    """Shows NumPy the elements of a tensor, and keeps the tensor."""

    __slots__ = ("__array_interface__", "_tensor")

    def __init__(self, x: Tensor) -> None:
        self._tensor = x
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "data": (x.data_ptr(), False),
            "shape": tuple(x.shape),
            "typestr": _type_string(x.dtype),
        }
        if not x.is_contiguous():
            # None would stand for contiguous elements, but NumPy 2.4.6 keeps a reference to it each time.
            item = x.element_size()
            self.__array_interface__["strides"] = tuple([item * step for step in x.stride()])


@cache
def _type_string(dtype: torch.dtype) -> str:
    """Returns NumPy's name of a data type, with the order of bytes."""
    return torch.empty(0, dtype=dtype).numpy().dtype.str


def array_of(name: str, x: Tensor) -> np.ndarray:
    """Returns the elements of a dense tensor on the CPU, which has no gradient recorded, as an array for one call.

    ``x.numpy()`` would make the storage one that can't be resized any more, which callers may want to do after the
    call.
    """
    return np.asarray(_Elements(_written(name, x)))


def kept_array_of(name: str, x: Tensor) -> np.ndarray:
    """Returns the same as an array that may be kept: torch refuses to resize the storage from now on."""
    return _written(name, x).numpy()


def _written(name: str, x: Tensor) -> Tensor:
    """Returns a tensor of the same elements whose memory has them as they are.

    Raises:
        RuntimeError: the storage is too small.
    """
    if is_zerotensor(x):
        return torch.zeros(x.shape, dtype=x.dtype)
    check_held(name, x)
    return x.resolve_neg() if x.is_neg() else x


def as_it_was(x: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Returns a saved tensor as contiguous memory that has all of its elements.

    Between the passes ``.data`` or a saved-tensor hook may have given it other values, another layout, another shape.

    Raises:
        RuntimeError: its shape, data type or device isn't what it was in the forward pass, or its storage is too small.
    """
    if x.shape != shape or x.dtype is not dtype or not x.is_cpu:
        raise RuntimeError(
            f"a saved tensor: got {x.dtype} of shape {tuple(x.shape)} on {x.device} in the backward pass; it must be "
            f"{dtype} of shape {tuple(shape)} on cpu, as it was in the forward pass"
        )
    if x.is_contiguous() and is_held(x):
        return x.resolve_neg() if x.is_neg() else x
    if is_zerotensor(x):
        return torch.zeros(shape, dtype=dtype)
    check_held("a saved tensor", x)
    return x.resolve_neg().contiguous()
