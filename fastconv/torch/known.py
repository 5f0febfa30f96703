"""Known calls on tensors (`fastconv.known`): those that record no gradient, where nothing but plain computing goes on.

A pooling takes 1.9 us so and a convolution 2.9, otherwise 15 and 11. Half of it is for the questions below, and 0.7 for
making a tensor of the result.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastconv import known
from fastconv.torch.internals import is_undisturbed
from fastconv.torch.memory import DTYPES, is_held, layout_of

_VERSION, _DESCRIBE, _WORDS = 1, 5, 7
"""Major version of DLPack that is understood, the place of the function that describes a tensor in the exchange's
table, and the words of the table."""

_CPU, _FLOAT = 1, 2
"""DLPack's numbers for the CPU and for floating-point types."""

_KINDS = (Tensor, nn.Parameter)


def exchange() -> int:
    """Returns the address of the function that describes a tensor, or 0 where torch has none that is understood."""
    capsule = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None:
        return 0
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = (ctypes.c_uint64 * _WORDS).from_address(get(capsule, b"dlpack_exchange_api"))
    if table[0] & 0xFFFFFFFF != _VERSION:
        return 0
    probe, found = torch.zeros(2, 3, 4)[:, 1:], (ctypes.c_uint64 * 6)()
    describe = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)(table[_DESCRIBE])
    if describe(probe, ctypes.addressof(found)) != 0 or found[0] != probe.data_ptr() or found[5] != 0:
        return 0
    sizes, strides = (list((ctypes.c_int64 * 3).from_address(address)) for address in found[3:5])
    return table[_DESCRIBE] if [found[1], found[2], *sizes, *strides] == words_of(probe)[2:] else 0


def words_of(tensor: Tensor) -> list[int]:
    """Returns what a key has of a tensor (`fastconv.backends.numba_cpu.calls.tensors`)."""
    kind = tensor.ndim | _FLOAT << 32 | tensor.element_size() * 8 << 40 | 1 << 48
    return [3, id(type(tensor)), _CPU, kind, *tensor.shape, *tensor.stride()]


class TensorCalls:
    """Implements `fastconv.known.Tensors`."""

    kind: type = Tensor

    def __init__(self) -> None:
        self._conv2d = self._max_pool2d = self._avg_pool2d = known.unknown

    def use(self, table: known.Table) -> None:
        """Take the functions that compute known calls from a table; none if torch's exchange isn't understood."""
        address = exchange()
        if address:
            self._conv2d, self._max_pool2d, self._avg_pool2d = (
                table.tensor_call(name, known.BACKEND[name], Tensor, address, words_of)
                for name in ("conv2d", "max_pool2d", "avg_pool2d")
            )

    def described(self, tensor: Any) -> np.dtype[Any] | None:
        """Returns the data type of a tensor that a known call may have; None for what isn't one."""
        if type(tensor) not in _KINDS or tensor.layout is not torch.strided or not tensor.is_cpu:
            return None
        if tensor.dtype not in (torch.float32, torch.float64) or not tensor.is_contiguous() or tensor.is_neg():
            return None
        if tensor.ndim == 4 and layout_of(tensor) is not torch.contiguous_format:
            return None
        return DTYPES[tensor.dtype] if is_held(tensor) else None

    def conv2d(self, x: Any, w: Any, b: Any, *rest: Any) -> Any:
        """Returns the result of a known call, None or `NotImplemented`."""
        if not is_undisturbed() or torch.is_autocast_enabled("cpu") or type(w) not in _KINDS:
            return NotImplemented
        grad = torch.is_grad_enabled()
        if x.is_neg() or w.is_neg() or (grad and (x.requires_grad or w.requires_grad)):
            return NotImplemented
        try:
            places = (
                *(x.untyped_storage().nbytes(), x.storage_offset()),
                *(w.untyped_storage().nbytes(), w.storage_offset()),
            )
            if b is None:
                found = self._conv2d(x, w, b, *rest, *places, None, None)
            elif type(b) not in _KINDS or b.is_neg() or (grad and b.requires_grad):
                return NotImplemented
            else:
                found = self._conv2d(x, w, b, *rest, *places, b.untyped_storage().nbytes(), b.storage_offset())
        except NotImplementedError:  # sparse tensors have no storage
            return NotImplemented
        return torch.from_numpy(found) if type(found) is np.ndarray else found

    def max_pool2d(self, x: Any, *rest: Any) -> Any:
        """Returns the result of a known call, None or `NotImplemented`."""
        return _pooled(self._max_pool2d, x, rest)

    def avg_pool2d(self, x: Any, *rest: Any) -> Any:
        """Returns the result of a known call, None or `NotImplemented`."""
        return _pooled(self._avg_pool2d, x, rest)


def _pooled(call: known.Call, x: Any, rest: tuple[Any, ...]) -> Any:
    if not is_undisturbed() or x.is_neg() or (x.requires_grad and torch.is_grad_enabled()):
        return NotImplemented
    try:
        found = call(x, *rest, x.untyped_storage().nbytes(), x.storage_offset(), None, None, None, None)
    except NotImplementedError:  # sparse tensors have no storage
        return NotImplemented
    return torch.from_numpy(found) if type(found) is np.ndarray else found
