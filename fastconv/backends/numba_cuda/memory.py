"""GPU memory is lent to kernels, made, filled and read here. In the simulator it is the processor's memory."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.numba_cuda.errors import translated
from fastconv.backends.numba_cuda.target import SIMULATED, cuda, primitives


class Buffer(NamedTuple):
    """Contiguous memory that kernels may use as long as ``owner`` lives."""

    address: int
    elements: int
    kind: Any
    """The type of an element in memory."""
    owner: Any

    @property
    def argument(self) -> Any:
        """Returns the argument that a kernel takes for the buffer."""
        if not SIMULATED:
            return self.address
        dtype = np.dtype(self.kind.name)
        if not self.elements:
            return primitives.Memory(np.zeros(0, dtype))
        bytes_ = (ctypes.c_uint8 * (self.elements * dtype.itemsize)).from_address(self.address)
        return primitives.Memory(np.frombuffer(bytes_, dtype))


def allocate(count: int, dtype: np.dtype) -> tuple[Any, int]:
    """Returns memory for ``count`` elements: the object that keeps it alive, and the address."""
    if SIMULATED:
        memory = np.empty(count, dtype)
        return memory, memory.ctypes.data
    if not count:
        return None, 0
    with translated("making room for a result or workspace", count * dtype.itemsize):
        owner = cuda.device_array(count, dtype)
    return owner, _address(owner)


def _address(array: Any) -> int:
    """Returns where an array of Numba's that has elements lies on the GPU."""
    return int(array.__cuda_array_interface__["data"][0])


def from_host(array: np.ndarray, kind: Any) -> Buffer:
    """Returns a copy on the GPU of a contiguous array's elements."""
    if SIMULATED:
        copy = array.copy()
        return Buffer(copy.ctypes.data, copy.size, kind, copy)
    if not array.size:
        return Buffer(0, 0, kind, None)
    with translated("bringing an operand to the GPU", array.nbytes):
        owner = cuda.to_device(array)
    return Buffer(_address(owner), array.size, kind, owner)


def to_host(array: Any) -> np.ndarray:
    """Returns a copy for NumPy of a contiguous `DeviceArray`, once all work on it is done."""
    if SIMULATED or not array.size:
        bytes_ = ctypes.string_at(array.address, array.size * array.dtype.itemsize) if array.size else b""
        return np.frombuffer(bytes_, array.dtype).reshape(array.shape).copy()
    with translated("bringing a result from the GPU"):
        return cuda.as_cuda_array(array).copy_to_host()
