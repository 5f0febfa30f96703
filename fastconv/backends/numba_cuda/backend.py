"""The backend `cuda` as the registry knows it; `calls`, which does the work, is loaded with the first call."""

from __future__ import annotations

import importlib.util
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from fastconv.backends.base import INTEGERS, Backend, Geometry
from fastconv.backends.explanation import Explanation
from fastconv.backends.numba_cuda.ladder import ALGORITHMS
from fastconv.errors import UnknownBackendError
from fastconv.geometry import ConvGeometry

if TYPE_CHECKING:
    from fastconv.backends.numba_cuda.calls import Calls

_MOST_PIXELS = 2**31

INSTALL = "pip install 'fastconv[cuda12]' or 'fastconv[cuda13]', whichever the driver is for (nvidia-smi tells)"


def _done_by_calls(operation: str) -> Any:
    """Returns the primitive of this name that `calls` has."""

    def primitive(self: NumbaCuda, *arguments: Any) -> Any:
        return getattr(self._calls, operation)(*arguments)

    return primitive


class NumbaCuda(Backend):
    """A backend that takes and gives tensors on a GPU as they are, and brings NumPy's arrays there and back."""

    summary: ClassVar[str] = "NVIDIA GPUs, kernels written in Python (Numba CUDA)"
    tensors: ClassVar[bool] = True
    devices: ClassVar[tuple[str, ...]] = ("cuda", "cpu")
    options: ClassVar[tuple[str, ...]] = ALGORITHMS

    def __init__(self, name: str = "cuda", algorithm: str | None = None) -> None:
        if algorithm is not None and algorithm not in ALGORITHMS:
            known = ", ".join(map(repr, ALGORITHMS))
            raise UnknownBackendError(f"backend {name!r}: its algorithms are {known}, and {algorithm!r} is none")
        self.name = name
        self.algorithm = algorithm

    @cached_property
    def _calls(self) -> Calls:
        from fastconv.backends.numba_cuda.calls import Calls

        return Calls(self.algorithm)

    def unavailable(self) -> str | None:
        if importlib.util.find_spec("numba_cuda") is None:
            return f"numba-cuda is not installed: {INSTALL}"
        from numba import cuda

        if not cuda.is_available():
            return (
                "the driver finds no NVIDIA GPU (nvidia-smi shows what it finds); "
                "NUMBA_ENABLE_CUDASIM=1 in the environment runs the kernels on the processor, very slowly"
            )
        return None

    def takes_halves(self, device: str) -> bool:
        return self._calls.at_home(device)

    def refuses(self, operation: str, geometry: Geometry | None, dtype: Any) -> str | None:
        if geometry is not None and max(geometry.H * geometry.W, geometry.P * geometry.Q) >= _MOST_PIXELS:
            return f"a plane has {_MOST_PIXELS:,} pixels or more, and inside planes it counts in 32 bits"
        if str(dtype).removeprefix("torch.") in INTEGERS:
            return "its max pooling is of floats alone"
        if self.algorithm is None or not isinstance(geometry, ConvGeometry) or not operation.startswith("conv2d"):
            return None
        return self._calls.refuses(operation, geometry, dtype)

    def variant(self, option: str) -> Backend:
        return NumbaCuda(f"{self.name}:{option}", option)

    def explain(self, operation: str, geometry: Geometry, dtype: Any) -> Explanation:
        if not isinstance(geometry, ConvGeometry):
            return super().explain(operation, geometry, dtype)
        return self._calls.explain(operation, geometry, dtype)

    def warmup(self) -> None:
        self._calls.warmup()

    conv2d = _done_by_calls("conv2d")
    conv2d_input = _done_by_calls("conv2d_input")
    conv2d_weight = _done_by_calls("conv2d_weight")
    max_pool2d = _done_by_calls("max_pool2d")
    max_pool2d_values = _done_by_calls("max_pool2d_values")
    max_pool2d_backward = _done_by_calls("max_pool2d_backward")
    max_pool2d_gradient = _done_by_calls("max_pool2d_gradient")
    avg_pool2d = _done_by_calls("avg_pool2d")
    avg_pool2d_backward = _done_by_calls("avg_pool2d_backward")
    unfold = _done_by_calls("unfold")
    fold = _done_by_calls("fold")
