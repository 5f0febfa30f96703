"""The backend `cuda` at work: the contract's primitives, each planned once and launched without waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.backends.explanation import Explanation
from fastconv.backends.numba_cuda import average_pooling, max_pooling, places, planner, runs, sums
from fastconv.backends.numba_cuda import columns as column_kernels
from fastconv.backends.numba_cuda.cores import covering
from fastconv.backends.numba_cuda.correlation import Correlation, forward, input_gradient
from fastconv.backends.numba_cuda.memory import Buffer
from fastconv.backends.numba_cuda.places import Place
from fastconv.backends.numba_cuda.planner import Plan
from fastconv.backends.numba_cuda.storage import STORAGES, Storage
from fastconv.backends.numba_cuda.target import types
from fastconv.backends.numba_cuda.windows import windows
from fastconv.geometry import ConvGeometry, PoolGeometry

_COMMON_LAYERS = [
    ConvGeometry(4, C, H, H, K, R, R, (1, 1), (R // 2,) * 4, groups=groups)
    for C, K, R, H, groups in (
        *((1, 6, 5, 28, 1), (6, 16, 5, 14, 1), (64, 64, 3, 14, 1)),
        *((256, 256, 3, 14, 1), (512, 512, 1, 14, 1), (64, 64, 3, 14, 64)),
    )
]


class Calls:
    """The primitives, computed by the rung that the planner chooses, or always by ``algorithm``."""

    def __init__(self, algorithm: str | None) -> None:
        self.algorithm = algorithm
        self._plans = lru_cache(maxsize=1024)(self._make_plans)

    def at_home(self, device: str) -> bool:
        """Returns True if tensors on this kind of device are used where they are."""
        return device == places.HOME

    def refuses(self, operation: str, geometry: ConvGeometry, dtype: Any) -> str | None:
        """Returns why ``algorithm`` can't do a convolution or one of its gradients, or None."""
        assert self.algorithm is not None
        return planner.refuses(self.algorithm, forward(geometry), _storage(dtype), operation == "conv2d_weight")

    def explain(self, operation: str, geometry: ConvGeometry, dtype: Any) -> Explanation:
        """Returns how a convolution or one of its gradients would be done, and what each rung would cost."""
        stored = _storage(dtype)
        weigh = operation == "conv2d_weight"
        lines, total, chosen = [], 0.0, []
        found = self._plans(operation, geometry, stored, False)
        for number, (f, plan) in enumerate(found, 1):
            if len(found) > 1:
                lines.append(f"  lattice {number} of {len(found)}: {f.I} x {f.J} pixels, {f.R * f.S} taps")
            total += plan.seconds
            chosen.append(plan.algorithm)
            for candidate in planner.candidates(f, stored, weigh=weigh, tf32=True):
                mark = "*" if candidate.algorithm == plan.algorithm else " "
                lines.append(
                    f"  {mark} {candidate.algorithm:10} {1e6 * candidate.seconds:9.1f} us  {candidate.describe()}"
                )
        names = " and ".join(dict.fromkeys(chosen)) or "nothing to compute"
        machine = planner.gpu()
        peak = machine.processors * machine.fused(stored)
        head = (
            f"{operation}, {stored.name}: {names}, {1e6 * total:.1f} us predicted",
            f"  {geometry.flops / 1e9:.3g} GFLOP, {1e6 * geometry.flops / peak:.1f} us at {peak / 1e12:.0f} TFLOP/s; "
            f"{geometry.bytes(stored.itemsize) / 1e6:.3g} MB to move at least",
        )
        return Explanation(names, total, "\n".join([*head, *lines]), geometry.flops / peak)

    def warmup(self) -> None:
        """Compile the kernels that the first layers and poolings of usual networks need."""
        for g in _COMMON_LAYERS:
            x, w, y = (np.zeros(shape, np.float32) for shape in (g.input_shape, g.weight_shape, g.output_shape))
            self.conv2d(x, w, y[0, :, 0, 0], g)
            self.conv2d_input(y, w, g)
            self.conv2d_weight(x, y, g)
        pooling = PoolGeometry(1, 1, 4, 4, 2, 2, (2, 2))
        plane = np.zeros(pooling.input_shape, np.float32)
        y, indices = self.max_pool2d(plane, pooling)
        self.max_pool2d_values(plane, pooling)
        self.max_pool2d_gradient(y, indices, pooling)
        self.avg_pool2d_backward(self.avg_pool2d(plane, pooling), pooling)

    def conv2d(self, x: Any, w: Any, b: Any, geometry: ConvGeometry) -> Any:
        with _call(x) as (place, stored):
            y = place.empty(geometry.output_shape, stored.name, stored.memory)
            if y.elements:
                operands = place.enter(x, stored.memory), place.enter(w, stored.memory)
                bias = None if b is None else place.enter(b, stored.memory)
                for f, plan in self._plans("conv2d", geometry, stored, place.allows_tf32):
                    runs.correlate(place, plan, f, stored, *operands, bias, y)
            return place.leave(y)

    def conv2d_input(self, grad: Any, w: Any, geometry: ConvGeometry) -> Any:
        with _call(grad) as (place, stored):
            x = place.empty(geometry.input_shape, stored.name, stored.memory)
            if x.elements:
                operands = place.enter(grad, stored.memory), place.enter(w, stored.memory)
                for f, plan in self._plans("conv2d_input", geometry, stored, place.allows_tf32):
                    runs.correlate(place, plan, f, stored, *operands, None, x)
            return place.leave(x)

    def conv2d_weight(self, x: Any, grad: Any, geometry: ConvGeometry) -> Any:
        with _call(x) as (place, stored):
            w = place.empty(geometry.weight_shape, stored.name, stored.memory)
            if w.elements:
                operands = place.enter(x, stored.memory), place.enter(grad, stored.memory)
                for f, plan in self._plans("conv2d_weight", geometry, stored, place.allows_tf32):
                    runs.weigh(place, plan, f, stored, *operands, w)
            return place.leave(w)

    def max_pool2d(self, x: Any, geometry: PoolGeometry) -> tuple[Any, Any]:
        with _call(x) as (place, stored):
            indices = place.empty(geometry.output_shape, "int64", max_pooling.INDEX)
            return _pooled(place, stored, x, geometry, indices), place.leave(indices)

    def max_pool2d_values(self, x: Any, geometry: PoolGeometry) -> Any:
        with _call(x) as (place, stored):
            return _pooled(place, stored, x, geometry, None)

    def max_pool2d_backward(self, grad: Any, indices: Any, size: tuple[int, int]) -> Any:
        with _call(grad) as (place, stored):
            N, C, P, Q = grad.shape
            x = place.empty((N, C, *size), stored.name, stored.memory)
            if x.elements:
                # turns: for each plane an int32 a pixel and a window
                turns = place.workspace(N * C * (P * Q + size[0] * size[1]), types.int32)
                total = place.workspace(x.elements, stored.computed)
                sums.clear(stored.computed).launch(
                    covering(x.elements, sums.THREADS), place.stream, total.argument, x.elements
                )
                change, taken = place.enter(grad, stored.memory), place.enter(indices, max_pooling.INDEX)
                buffers = change.argument, taken.argument, total.argument, turns.argument
                scatter = max_pooling.scatter_backward(stored)
                scatter.launch(N * C, place.stream, *buffers, P * Q, size[0] * size[1])
                rounded = sums.add_splits(stored)
                blocks = covering(x.elements, sums.THREADS)
                unbiased = total.argument, x.argument, x.argument, x.elements, 1, 1, 1, 0
                rounded.launch(blocks, place.stream, *unbiased)
            return place.leave(x)

    def max_pool2d_gradient(self, grad: Any, indices: Any, geometry: PoolGeometry) -> Any:
        with _call(grad) as (place, stored):
            x = place.empty(geometry.input_shape, stored.name, stored.memory)
            change, taken = place.enter(grad, stored.memory), place.enter(indices, max_pooling.INDEX)
            buffers = change.argument, taken.argument, x.argument
            blocks = covering(x.elements, max_pooling.THREADS)
            max_pooling.gather_backward(stored).launch(blocks, place.stream, *buffers, windows(geometry))
            return place.leave(x)

    def avg_pool2d(self, x: Any, geometry: PoolGeometry) -> Any:
        return _mapped(average_pooling.pool, x, geometry.output_shape, windows(geometry))

    def avg_pool2d_backward(self, grad: Any, geometry: PoolGeometry) -> Any:
        return _mapped(average_pooling.backward, grad, geometry.input_shape, windows(geometry))

    def unfold(self, x: Any, geometry: ConvGeometry) -> Any:
        return _mapped(column_kernels.unfold, x, geometry.columns_shape, forward(geometry))

    def fold(self, columns: Any, geometry: ConvGeometry) -> Any:
        return _mapped(column_kernels.fold, columns, geometry.input_shape, forward(geometry))

    def channel_sum(self, grad: Any, channels: int) -> Any:
        """Returns the gradient of a bias, (``channels``,), where no library does it; zeros if grad has no channels."""
        with _call(grad) as (place, stored):
            N, K, P, Q = grad.shape
            total = place.empty((channels,), stored.name, stored.memory)
            change = place.enter(grad, stored.memory)
            # of a grad without channels no images are added up
            sizes = N if K else 0, channels, P * Q
            sums.channel_sum(stored).launch(channels, place.stream, change.argument, total.argument, *sizes)
            return place.leave(total)

    def add_bias(self, x: Any, b: Any) -> Any:
        """Returns x after b (C,) was added to each pixel, in place."""
        with _call(x) as (place, stored):
            images, offset = place.enter(x, stored.memory), place.enter(b, stored.memory)
            _, C, H, W = x.shape
            blocks = covering(images.elements, sums.THREADS)
            sizes = images.elements, H * W, C
            sums.add_bias(stored).launch(blocks, place.stream, images.argument, offset.argument, *sizes)
            return place.leave(images)

    def _make_plans(
        self, operation: str, g: ConvGeometry, stored: Storage, tf32: bool
    ) -> tuple[tuple[Correlation, Plan], ...]:
        """Returns the sums that an operation consists of, each with the plan that does it."""

        weigh = operation == "conv2d_weight"
        found = list(input_gradient(g)) if operation == "conv2d_input" else [forward(g)]
        if self.algorithm is not None:
            return tuple((f, planner.best(self.algorithm, f, stored, weigh=weigh)) for f in found)
        return tuple((f, planner.candidates(f, stored, weigh=weigh, tf32=tf32)[0]) for f in found)


def _storage(dtype: Any) -> Storage:
    return STORAGES[getattr(dtype, "name", str(dtype).removeprefix("torch."))]


@contextmanager
def _call(operand: Any) -> Iterator[tuple[Place, Storage]]:
    """Yields the place of a call's operands and the operands there, with their GPU the current one."""

    place = places.of(operand)
    with place.device():
        yield place, STORAGES[place.dtype(operand)]


def _mapped(kernel: Callable[[Storage], Any], x: Any, shape: tuple[int, ...], how: Any) -> Any:
    """Returns the result of a kernel that has one operand and one thread an element."""
    with _call(x) as (place, stored):
        result = place.empty(shape, stored.name, stored.memory)
        operand = place.enter(x, stored.memory)
        made = kernel(stored)
        made.launch(covering(result.elements, made.threads), place.stream, operand.argument, result.argument, how)
        return place.leave(result)


def _pooled(place: Place, stored: Storage, x: Any, geometry: PoolGeometry, indices: Buffer | None) -> Any:
    y = place.empty(geometry.output_shape, stored.name, stored.memory)
    operand = place.enter(x, stored.memory)
    kernel = max_pooling.pool(stored, indices is not None)
    # without indices any pointer stands for them: nothing is written
    places = operand.argument, y.argument, (operand if indices is None else indices).argument
    kernel.launch(covering(y.elements, max_pooling.THREADS), place.stream, *places, windows(geometry))
    return place.leave(y)
