"""The backend `auto` picks another: the first of a fixed order that can run here and do the problem at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from fastconv import registry
from fastconv.backends.base import Backend, Geometry
from fastconv.backends.batch_norm import BatchNorm
from fastconv.backends.block import Activation, Block
from fastconv.backends.chain import Chain
from fastconv.backends.network import HeldTensors, Network, Outline
from fastconv.backends.trainable import TrainableNetwork
from fastconv.errors import BackendUnavailableError, UnsupportedError

ORDER = ("numba", "im2col", "naive")
"""The order in which backends are tried for operands on the CPU. numba does every problem and is the
fastest; the others stand in where it can't run. torch is the yardstick and third parties' backends are theirs to
choose, so neither is ever picked unasked.
"""


def _delegate(operation: str) -> Any:
    """Returns the primitive that hands over to the backend that `Auto.select` gives."""

    def primitive(self: Auto, *arguments: Any) -> Any:
        geometry = next((a for a in arguments if isinstance(a, Geometry)), None)
        first = arguments[0]
        device = "cuda" if hasattr(first, "__cuda_array_interface__") else "cpu"
        return getattr(self.select(operation, geometry, first.dtype, device), operation)(*arguments)

    return primitive


ON_DEVICE = {"cpu": ORDER, "cuda": ("cuda",)}


class Auto(Backend):
    """Computes nothing by itself: `select` gives the backend that does."""

    name = "auto"
    summary: ClassVar[str] = f"the first of {', '.join(ORDER)} that can do the problem; cuda for operands on a GPU"
    devices: ClassVar[tuple[str, ...]] = tuple(ON_DEVICE)

    def select(self, operation: str, geometry: Geometry | None, dtype: Any, device: str = "cpu") -> Backend:
        reasons = []
        for name in ON_DEVICE.get(device, ()):
            try:
                return registry.resolve(name).select(operation, geometry, dtype, device)
            except (BackendUnavailableError, UnsupportedError) as error:
                reasons.append(str(error))
        why = "; ".join(reasons) or f"no backend is chosen for {device} unasked"
        raise UnsupportedError(f"no backend can do {operation} on {geometry} in {dtype} on {device}: {why}")

    def chain(self, blocks: tuple[Block, ...], dtype: Any) -> Chain | None:
        return self.select("conv2d", blocks[0].geometry, dtype).chain(blocks, dtype)

    def network(
        self,
        outline: Outline,
        dtype: Any,
        parameters: Sequence[Any],
        watched: Sequence[Any] = (),
        held: HeldTensors | None = None,
    ) -> Network | None:
        return self.select("network", None, dtype).network(outline, dtype, parameters, watched, held)

    def trainable(self, outline: Outline, dtype: Any) -> TrainableNetwork | None:
        return self.select("network", None, dtype).trainable(outline, dtype)

    def batch_norm(self, shape: tuple[int, ...], activation: Activation | None, dtype: Any) -> BatchNorm | None:
        return self.select("batch_norm", None, dtype).batch_norm(shape, activation, dtype)

    def channel_sum(self, grad: Any) -> Any:
        return self.select("channel_sum", None, grad.dtype).channel_sum(grad)

    conv2d = _delegate("conv2d")
    conv2d_input = _delegate("conv2d_input")
    conv2d_weight = _delegate("conv2d_weight")
    max_pool2d = _delegate("max_pool2d")
    max_pool2d_values = _delegate("max_pool2d_values")
    max_pool2d_backward = _delegate("max_pool2d_backward")
    max_pool2d_gradient = _delegate("max_pool2d_gradient")
    avg_pool2d = _delegate("avg_pool2d")
    avg_pool2d_backward = _delegate("avg_pool2d_backward")
    adaptive_max_pool2d = _delegate("adaptive_max_pool2d")
    adaptive_max_pool2d_values = _delegate("adaptive_max_pool2d_values")
    adaptive_max_pool2d_gradient = _delegate("adaptive_max_pool2d_gradient")
    adaptive_avg_pool2d = _delegate("adaptive_avg_pool2d")
    adaptive_avg_pool2d_backward = _delegate("adaptive_avg_pool2d_backward")
    unfold = _delegate("unfold")
    fold = _delegate("fold")
