"""This file finds the functions of torch's that compiled code calls, and tries whether they do what they should.

DLPack's exchange and those that begin with ``aoti_torch`` are interfaces for others; the rest is torch's own, under the
names that GCC and Clang give to functions of C++. Where one is missing or does something else there is no interface,
and calls on tensors take their usual way.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastconv.backends.network import HeldTensors
from fastconv.known import TensorInterface
from fastconv.torch.internals import LIBRARY
from fastconv.torch.memory import version

_VERSION, _DESCRIBE, _WORDS = 1, 5, 7
"""Major version of DLPack that is understood, the place of the function that describes a tensor in the exchange's
table, and the words of the table."""

_CPU, _INTEGER, _FLOAT = 1, 0, 2
"""DLPack's numbers for the CPU, and for types of integers and of floating-point numbers."""

_TYPES = {"float32": torch.float32, "float64": torch.float64, "int64": torch.int64}
"""The data types that compiled code makes tensors of."""

_FUNCTIONS = {
    "is_negated": "_ZN2at25compositeimplicitautograd6is_negERKNS_6TensorE",
    "wants_gradient": "_ZNK3c1010TensorImpl13requires_gradEv",
    "records_gradients": "aoti_torch_grad_mode_is_enabled",
    "casts": "_ZN2at8autocast19is_autocast_enabledEN3c1010DeviceTypeE",
    "storage_bytes": "aoti_torch_get_storage_size",
    "storage_offset": "aoti_torch_get_storage_offset",
    "data": "aoti_torch_get_data_ptr",
    "version": "_ZNK2at10TensorBase8_versionEv",
    "empty": "aoti_torch_empty_strided",
    "wrapped": "_Z16THPVariable_WrapRKN2at10TensorBaseE",
    "forget": "aoti_torch_delete_tensor_object",
}


@cache
def tensor_interface() -> TensorInterface | None:
    """Returns the interface, or None where torch has none that is understood."""
    # An inference tensor has no version: asked for it outside of Python, torch ends the process.
    with torch.inference_mode(mode=False):
        return _tried()


def _tried() -> TensorInterface | None:
    describe, handle = _exchange(), _place_of_handle()
    if not describe or not handle:
        return None
    try:
        library = ctypes.PyDLL(LIBRARY)
        functions = {name: getattr(library, symbol) for name, symbol in _FUNCTIONS.items()}
        types = {name: getattr(library, f"aoti_torch_dtype_{name}")() for name in _TYPES}
    except (AttributeError, OSError):
        return None
    if not _do_what_they_should(functions, handle, types):
        return None
    addresses = {name: ctypes.cast(each, ctypes.c_void_p).value or 0 for name, each in functions.items()}
    return TensorInterface(id(Tensor), id(nn.Parameter), handle, describe=describe, **types, **addresses)


def words_of(tensor: Tensor) -> list[int]:
    """Returns what a key has of a tensor (`fastconv.backends.numba_cpu.calls.tensors`)."""
    numbers = _FLOAT if tensor.is_floating_point() else _INTEGER
    kind = tensor.ndim | numbers << 32 | tensor.element_size() * 8 << 40 | 1 << 48
    return [3, id(type(tensor)), _CPU, kind, *tensor.shape, *tensor.stride()]


def held_tensors(tensors: Sequence[Tensor], places: Sequence[int]) -> HeldTensors | None:
    """Returns what tensors at these ``places`` among the operands of a call are now; None without an interface.

    Changes are counted of weights alone: of a vector all numbers are compared.
    """
    interface = tensor_interface()
    if interface is None:
        return None
    rows = [
        (place, x._cdata, x.data_ptr(), version(x) if x.ndim > 1 else -1)
        for place, x in zip(places, tensors, strict=True)
    ]
    return HeldTensors(interface.handle, interface.data, interface.version, np.array(rows, np.int64).reshape(-1, 4))


def _exchange() -> int:
    """Returns the address of the function that describes a tensor, or 0."""
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


def _place_of_handle() -> int:
    """Returns the bytes of a tensor's object before torch's reference to the tensor, or 0 if they aren't always so."""
    places = set()
    for probe in (torch.zeros(2), torch.zeros(3, dtype=torch.float64)[1:], nn.Parameter(torch.zeros(1))):
        words = list((ctypes.c_uint64 * (Tensor.__basicsize__ // 8)).from_address(id(probe)))
        address = getattr(probe, "_cdata", 0)
        places.add(8 * words.index(address) if words.count(address) == 1 else 0)
    return places.pop() if len(places) == 1 else 0


def _do_what_they_should(functions: dict[str, Any], place: int, types: dict[str, int]) -> bool:
    """Returns True if torch's functions tell what is known of some tensors, and make one."""
    for name in ("is_negated", "wants_gradient", "records_gradients", "casts"):
        functions[name].restype = ctypes.c_bool
    functions["wrapped"].restype = ctypes.py_object
    functions["version"].restype = ctypes.c_int64
    plain = torch.zeros(2, 3)[1:].mul_(2)
    negative, wanted = torch._neg_view(plain), torch.zeros(4, dtype=torch.float64).requires_grad_()
    number = ctypes.c_int64()
    for probe in (plain, negative, wanted):
        handle = ctypes.c_void_p(id(probe) + place)
        told = [functions["is_negated"](handle), functions["wants_gradient"](ctypes.c_void_p(probe._cdata))]
        told.append(functions["version"](handle))
        if told != [probe.is_neg(), probe.requires_grad, version(probe)]:
            return False
        facts = {
            "storage_bytes": probe.untyped_storage().nbytes(),
            "storage_offset": probe.storage_offset(),
            "data": probe.data_ptr(),
        }
        for name, fact in facts.items():
            if functions[name](handle, ctypes.byref(number)) != 0 or number.value != fact:
                return False
    return _follow_modes(functions) and all(_makes(functions, types[name], dtype) for name, dtype in _TYPES.items())


def _follow_modes(functions: dict[str, Any]) -> bool:
    """Returns True if it is told rightly whether gradients are recorded and whether autocast is on."""
    told, right = [], []
    for on in (False, True):
        with torch.set_grad_enabled(on), torch.autocast("cpu", enabled=on):
            told.append((functions["records_gradients"](), functions["casts"](ctypes.c_int8(0))))
        right.append((on, on))
    return told == right


def _makes(functions: dict[str, Any], number: int, dtype: torch.dtype) -> bool:
    """Returns True if a tensor of a data type is made as it is asked for; ``number`` is torch's for the type."""
    sizes, strides, made = (ctypes.c_int64 * 2)(2, 3), (ctypes.c_int64 * 2)(3, 1), ctypes.c_void_p()
    arguments = ctypes.c_int64(2), sizes, strides, ctypes.c_int32(number), ctypes.c_int32(0), ctypes.c_int32(0)
    if functions["empty"](*arguments, ctypes.byref(made)) != 0:
        return False
    result = functions["wrapped"](made)
    functions["forget"](made)
    return type(result) is Tensor and result.shape == (2, 3) and result.dtype is dtype and result.is_contiguous()
