"""Known calls on tensors (`fastconv.known`): those that record no gradient, where nothing but plain computing goes on.

A third of the time of a call is for the questions below; what else has to be asked, compiled code asks torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastconv import known
from fastconv.torch.interface import tensor_interface, words_of
from fastconv.torch.internals import is_undisturbed
from fastconv.torch.memory import DTYPES, is_held, layout_of

_KINDS = (Tensor, nn.Parameter)
_TYPES = {kind: DTYPES[kind] for kind in (torch.float32, torch.float64)} | {torch.int64: np.dtype(np.int64)}


class TensorCalls:
    """Implements `fastconv.known.Tensors`."""

    kind: type = Tensor

    def __init__(self) -> None:
        self._conv2d = self._conv2d_input = self._conv2d_weight = known.unknown
        self._max_pool2d = self._max_pool2d_gradient = known.unknown
        self._avg_pool2d = self._avg_pool2d_backward = known.unknown

    def use(self, table: known.Table) -> None:
        """Take the functions that compute known calls from a table; none if torch's interface isn't understood."""
        interface = tensor_interface()
        if interface is not None:
            for name, backend in known.OF_TENSORS.items():
                setattr(self, f"_{name}", table.tensor_call(name, backend, interface, words_of))

    @property
    def answers(self) -> bool:
        """Returns True once there are known calls."""
        return self._conv2d is not known.unknown

    def described(self, tensor: Any) -> np.dtype[Any] | None:
        """Returns the data type of a tensor that a known call may have; None for what isn't one."""
        if type(tensor) not in _KINDS or tensor.layout is not torch.strided or not tensor.is_cpu:
            return None
        if tensor.dtype not in _TYPES or not tensor.is_contiguous() or tensor.is_neg():
            return None
        if tensor.ndim == 4 and layout_of(tensor) is not torch.contiguous_format:
            return None
        return _TYPES[tensor.dtype] if is_held(tensor) else None

    def conv2d(self, *arguments: Any) -> Any:
        """Returns the result of a known call, None or `NotImplemented`."""
        return self._conv2d(*arguments) if is_undisturbed() else NotImplemented

    def conv2d_input(self, *arguments: Any) -> Any:
        """Returns the result of a known call, None or `NotImplemented`."""
        return self._conv2d_input(*arguments) if is_undisturbed() else NotImplemented

    def conv2d_weight(self, *arguments: Any) -> Any:
        """Returns the result of a known call, None or `NotImplemented`."""
        return self._conv2d_weight(*arguments) if is_undisturbed() else NotImplemented

    def max_pool2d(self, *arguments: Any) -> Any:
        """Returns the result of a known call, None or `NotImplemented`."""
        return self._max_pool2d(*arguments) if is_undisturbed() else NotImplemented

    def max_pool2d_gradient(self, *arguments: Any) -> Any:
        """Returns the result of a known call, None or `NotImplemented`."""
        return self._max_pool2d_gradient(*arguments) if is_undisturbed() else NotImplemented

    def avg_pool2d(self, *arguments: Any) -> Any:
        """Returns the result of a known call, None or `NotImplemented`."""
        return self._avg_pool2d(*arguments) if is_undisturbed() else NotImplemented

    def avg_pool2d_backward(self, *arguments: Any) -> Any:
        """Returns the result of a known call, None or `NotImplemented`."""
        return self._avg_pool2d_backward(*arguments) if is_undisturbed() else NotImplemented


TENSORS = TensorCalls()
"""The known calls on tensors of this process."""


def known_or(
    call: known.Call,
    arguments: tuple[Any, ...],
    operator: known.Call,
    operands: tuple[Any, ...],
    how: tuple[Any, ...],
    remember: Callable[[Sequence[Any], Sequence[Any]], None],
) -> Any:
    """Returns the result of a known call, or that of an operator for ``operands`` and ``how``: the same, the usual way.

    ``how`` is the parameters and the backend; ``remember`` is the function of `fastconv.remembering` for the operation.
    """
    if torch.compiler.is_compiling():
        return operator(*operands, *how)
    found = call(*arguments)
    if found is not None and found is not NotImplemented:
        return found
    result = operator(*operands, *how)
    if found is None:
        remember(arguments, how[:-1])
    return result
