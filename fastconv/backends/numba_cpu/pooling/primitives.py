"""The poolings of the contract: floats go to the vector kernels, integers to the definition."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from fastconv.adaptive_geometry import AdaptiveGeometry
from fastconv.backends.base import Backend
from fastconv.backends.numba_cpu.pooling import adaptive as adaptive_pooling
from fastconv.backends.numba_cpu.pooling import average as average_pooling
from fastconv.backends.numba_cpu.pooling import integer as integer_pooling
from fastconv.backends.numba_cpu.pooling import max as max_pooling
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import PoolGeometry


class Poolings(Backend):
    """This is the part of the backend that pools."""

    @abstractmethod
    def _simd(self, dtype: np.dtype) -> Simd:
        """Return the constant that kernels for a data type are compiled for."""

    def max_pool2d(self, x: np.ndarray, geometry: PoolGeometry) -> tuple[np.ndarray, np.ndarray]:
        if x.dtype.kind != "f":
            return integer_pooling.max_pool2d(x, geometry)
        return max_pooling.max_pool2d(self._simd(x.dtype), x, geometry)

    def max_pool2d_values(self, x: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        if x.dtype.kind != "f":
            return integer_pooling.max_pool2d(x, geometry)[0]
        return max_pooling.max_pool2d_values(self._simd(x.dtype), x, geometry)

    def max_pool2d_backward(self, grad: np.ndarray, indices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        simd = self._simd(grad.dtype)
        return max_pooling.max_pool2d_backward(simd, grad, indices, size)

    def avg_pool2d(self, x: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        return average_pooling.avg_pool2d(self._simd(x.dtype), x, geometry)

    def avg_pool2d_backward(self, grad: np.ndarray, geometry: PoolGeometry) -> np.ndarray:
        simd = self._simd(grad.dtype)
        return average_pooling.avg_pool2d_backward(simd, grad, geometry)

    def adaptive_max_pool2d(self, x: np.ndarray, geometry: AdaptiveGeometry) -> tuple[np.ndarray, np.ndarray]:
        if x.dtype.kind != "f":
            return super().adaptive_max_pool2d(x, geometry)
        return adaptive_pooling.max_pool2d(self._simd(x.dtype), x, geometry)

    def adaptive_max_pool2d_values(self, x: np.ndarray, geometry: AdaptiveGeometry) -> np.ndarray:
        if x.dtype.kind != "f":
            return super().adaptive_max_pool2d_values(x, geometry)
        return adaptive_pooling.max_pool2d_values(self._simd(x.dtype), x, geometry)

    def adaptive_avg_pool2d(self, x: np.ndarray, geometry: AdaptiveGeometry) -> np.ndarray:
        return adaptive_pooling.avg_pool2d(self._simd(x.dtype), x, geometry)

    def adaptive_avg_pool2d_backward(self, grad: np.ndarray, geometry: AdaptiveGeometry) -> np.ndarray:
        simd = self._simd(grad.dtype)
        return adaptive_pooling.avg_pool2d_backward(simd, grad, geometry)
