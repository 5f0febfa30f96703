"""Checks of tensors whose addresses go to compiled code, which reads what it is told to without a further look."""

from __future__ import annotations

import torch

from fastconv.torch.internals import is_zerotensor

Tensor = torch.Tensor


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
