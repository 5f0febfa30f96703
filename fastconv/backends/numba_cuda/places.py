"""A place is where operands are and results go: torch's tensors, NumPy's arrays, or any array that shows GPU memory.

A place lends the memory of operands to kernels, gives new memory, and says on which stream to run: torch's current one,
the one that the array's interface names, or the default. NumPy's arrays are brought to the GPU and results back.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from fastconv.backends.numba_cuda import copies, memory
from fastconv.backends.numba_cuda.cores import covering
from fastconv.backends.numba_cuda.device_array import LEGACY_STREAM, DeviceArray, contiguous_strides
from fastconv.backends.numba_cuda.errors import translated
from fastconv.backends.numba_cuda.memory import Buffer
from fastconv.backends.numba_cuda.target import SIMULATED, cuda

HOME = "cpu" if SIMULATED else "cuda"
"""The kind of device whose tensors are used where they are."""


class Place(ABC):
    """The place of one call's operands and results."""

    @property
    def stream(self) -> int:
        """Returns the handle of the stream where kernels run."""
        return 0

    @property
    def allows_tf32(self) -> bool:
        """Returns True if float32 may be multiplied as TF32."""
        return False

    def device(self) -> AbstractContextManager[Any]:
        """Returns a context within which the operands' GPU is the current one."""
        return nullcontext()

    @abstractmethod
    def dtype(self, array: Any) -> str:
        """Returns the name of an operand's element type."""

    @abstractmethod
    def enter(self, array: Any, kind: Any) -> Buffer:
        """Returns an operand's elements in C order on the GPU; they are copied only if they aren't so already."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: str, kind: Any) -> Buffer:
        """Returns memory for a result; `leave` makes the result of its owner."""

    @abstractmethod
    def leave(self, buffer: Buffer) -> Any:
        """Returns the result for the caller."""

    def workspace(self, count: int, kind: Any) -> Buffer:
        """Returns memory that is used during the call only."""
        return self.empty((count,), kind.name, kind)


class TorchPlace(Place):
    """Tensors of one GPU; in the simulator, those of the processor."""

    def __init__(self, tensor: Any) -> None:
        import torch

        self._torch = torch
        self._device = tensor.device

    @property
    def stream(self) -> int:
        return 0 if SIMULATED else self._torch.cuda.current_stream(self._device).cuda_stream

    @property
    def allows_tf32(self) -> bool:
        if SIMULATED:
            return False
        try:
            return bool(self._torch.backends.cudnn.allow_tf32)
        except RuntimeError:  # set by torch's newer switches, which the older one doesn't want to know of
            return self._torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]

    def device(self) -> AbstractContextManager[Any]:
        if SIMULATED:
            return nullcontext()
        _take_up(self._device.index)
        if self._torch.cuda.current_device() == self._device.index:
            return nullcontext()
        return self._torch.cuda.device(self._device)

    def dtype(self, array: Any) -> str:
        return str(array.dtype).removeprefix("torch.")

    def enter(self, array: Any, kind: Any) -> Buffer:
        tensor = array.detach() if array.requires_grad else array
        tensor = (tensor.resolve_neg() if tensor.is_neg() else tensor).contiguous()
        return Buffer(tensor.data_ptr(), tensor.numel(), kind, tensor)

    def empty(self, shape: tuple[int, ...], dtype: str, kind: Any) -> Buffer:
        tensor = self._torch.empty(shape, dtype=getattr(self._torch, dtype), device=self._device)
        return Buffer(tensor.data_ptr(), tensor.numel(), kind, tensor)

    def leave(self, buffer: Buffer) -> Any:
        return buffer.owner


class ArrayPlace(Place):
    """Arrays with ``__cuda_array_interface__``; results are `DeviceArray`s."""

    def __init__(self, array: Any) -> None:
        self._stream = DeviceArray.of(array).stream

    @property
    def stream(self) -> int:
        return self._stream

    def device(self) -> AbstractContextManager[Any]:
        if not SIMULATED:
            _take_up(None)
        return nullcontext()

    def dtype(self, array: Any) -> str:
        return DeviceArray.of(array).dtype.name

    def enter(self, array: Any, kind: Any) -> Buffer:
        given = DeviceArray.of(array)
        if given.stream != self._stream and not SIMULATED:
            with translated("waiting for an operand's stream"):
                cuda.external_stream(given.stream).synchronize()
        plain = given if given.is_contiguous else _contiguous(self, given, kind)
        return Buffer(plain.address, plain.size, kind, plain)

    def empty(self, shape: tuple[int, ...], dtype: str, kind: Any) -> Buffer:
        element = np.dtype(dtype)
        owner, address = memory.allocate(math.prod(shape), element)
        strides = contiguous_strides(shape, element.itemsize)
        array = DeviceArray(address, shape, strides, element, owner, self._stream)
        return Buffer(address, math.prod(shape), kind, array)

    def leave(self, buffer: Buffer) -> Any:
        return buffer.owner


class HostPlace(ArrayPlace):
    """NumPy's arrays: operands are copied to the GPU, results back."""

    def __init__(self) -> None:
        self._stream = LEGACY_STREAM

    def dtype(self, array: Any) -> str:
        return array.dtype.name

    def enter(self, array: Any, kind: Any) -> Buffer:
        return memory.from_host(np.ascontiguousarray(array), kind)

    def leave(self, buffer: Buffer) -> Any:
        return memory.to_host(buffer.owner)


class HostTensorPlace(HostPlace):
    """Tensors of the processor: operands are copied to the GPU, results back."""

    def dtype(self, array: Any) -> str:
        return array.numpy().dtype.name

    def enter(self, array: Any, kind: Any) -> Buffer:
        return super().enter((array.resolve_neg() if array.is_neg() else array).numpy(), kind)

    def leave(self, buffer: Buffer) -> Any:
        import torch

        return torch.from_numpy(super().leave(buffer))


def of(array: Any) -> Place:
    """Returns the place that an operand is in."""
    if isinstance(array, np.ndarray):
        return HostPlace()
    if hasattr(array, "data_ptr"):
        return TorchPlace(array) if array.device.type == HOME else HostTensorPlace()
    return ArrayPlace(array)


def _contiguous(place: Place, array: DeviceArray, kind: Any) -> DeviceArray:
    """Returns a copy of an array of up to four axes in C order."""
    lacking = 4 - array.ndim
    shape = (*[1] * lacking, *array.shape)
    steps = (*[0] * lacking, *(stride // array.dtype.itemsize for stride in array.strides))
    # steps backwards reach below the first element: what is lent begins at the least address
    below = -sum(min(0, (size - 1) * step) for size, step in zip(shape, steps, strict=True))
    reach = 1 + sum((size - 1) * abs(step) for size, step in zip(shape, steps, strict=True))
    source = Buffer(array.address - below * array.dtype.itemsize, reach, kind, array)
    target = place.empty(array.shape, array.dtype.name, kind)
    how = copies.Steps(array.size, below, *shape[1:], *steps)
    blocks = covering(array.size, copies.THREADS)
    copies.copy(kind).launch(blocks, place.stream, source.argument, target.argument, how)
    return target.owner


_thread = threading.local()


def _take_up(index: int | None) -> None:
    """Make a GPU current in this thread before its first launch: torch may have given it memory without that."""
    if getattr(_thread, "index", -1) != index:
        with translated("taking up the GPU"):
            if index is None:
                cuda.current_context()
            else:
                from cuda.core import Device

                Device(index).set_current()
        _thread.index = index
