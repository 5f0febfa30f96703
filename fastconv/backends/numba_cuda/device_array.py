"""An array in GPU memory, the kind of result for callers without torch: any library takes it without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

LEGACY_STREAM = 1
"""The default stream's number in version 3 of the CUDA array interface."""


class DeviceArray:
    """Elements of GPU memory, seen through ``__cuda_array_interface__`` (version 3).

    ``cupy.asarray(array)``, ``torch.as_tensor(array, device="cuda")`` and ``numba.cuda.as_cuda_array(array)`` share its
    memory; ``array.copy_to_host()`` brings it to NumPy. It can be indexed by integers, slices, None and ``...``.
    """

    def __init__(
        self, address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype, owner: Any, stream: int
    ) -> None:
        self.address = address
        self.shape = shape
        self.strides = strides
        self.dtype = dtype
        self.owner = owner
        """The object that keeps the memory alive."""
        self.stream = stream

    @classmethod
    def of(cls, array: Any) -> DeviceArray:
        """Returns an array on the memory of any array with the interface."""
        if isinstance(array, cls):
            return array
        interface = array.__cuda_array_interface__
        dtype = np.dtype(interface["typestr"])
        shape = tuple(interface["shape"])
        strides = interface.get("strides") or contiguous_strides(shape, dtype.itemsize)
        stream = interface.get("stream") or LEGACY_STREAM
        return cls(interface["data"][0], shape, tuple(strides), dtype, array, int(stream))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Returns the number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_contiguous(self) -> bool:
        """Returns True if the elements lie in memory as C lays them out."""
        expected = contiguous_strides(self.shape, self.dtype.itemsize)
        pairs = zip(self.shape, self.strides, expected, strict=True)
        return not self.size or all(size == 1 or given == wanted for size, given, wanted in pairs)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "strides": None if self.is_contiguous else self.strides,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "version": 3,
            "stream": self.stream,
        }

    def __getitem__(self, index: Any) -> DeviceArray:
        # NumPy works out shape, strides and offset on a byte that is never read.
        byte = np.zeros(1, np.uint8)
        whole = as_strided(byte, self.shape, self.strides)
        index = index if isinstance(index, tuple) else (index,)
        part = whole[index if any(each is ... for each in index) else (*index, ...)]
        offset = part.__array_interface__["data"][0] - byte.__array_interface__["data"][0]
        return DeviceArray(self.address + offset, part.shape, part.strides, self.dtype, self.owner, self.stream)

    def copy_to_host(self) -> np.ndarray:
        """Returns a NumPy array with the same elements, once all work on them is done."""
        from fastconv.backends.numba_cuda import memory

        return memory.to_host(self)

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype})"


def contiguous_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Returns the strides in bytes of an array in C order."""
    strides = []
    for size in reversed(shape):
        strides.append(itemsize)
        itemsize *= size
    return tuple(reversed(strides))
