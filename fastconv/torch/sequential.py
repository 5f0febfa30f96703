"""`torch.nn.Sequential` whose layers run together where they can."""

from functools import lru_cache
from typing import Any

import torch
from torch import nn

from fastconv import registry
from fastconv.arguments import conv_parameters
from fastconv.backends.base import Backend
from fastconv.backends.block import Activation, Pooling
from fastconv.torch import chain_autograd
from fastconv.torch.blocks import ConvBlock2d
from fastconv.torch.chain_autograd import Run
from fastconv.torch.chains import POINT, Stage, run_of
from fastconv.torch.internals import has_hooks
from fastconv.torch.memory import is_plain
from fastconv.torch.modules import COMPUTING, AvgPool2d, Conv2d, MaxPool2d
from fastconv.torch.pairs import pooling_in_pairs
from fastconv.torch.stand_in import StandIn
from fastconv.torch.tracing import Unscriptable

Tensor = torch.Tensor

_ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.Tanh: "tanh",
    nn.SiLU: "silu",
    nn.Hardswish: "hardswish",
    nn.Sigmoid: "sigmoid",
    nn.Hardsigmoid: "hardsigmoid",
}

_GELUS: dict[str, Activation] = {"none": "gelu", "tanh": "gelu_tanh"}
"""torch's two forms of GELU, by the argument ``approximate``."""


class Sequential(Unscriptable, nn.Sequential, metaclass=StandIn, of=nn.Sequential):
    """`torch.nn.Sequential`; layers of fastconv's that follow one another run as one step forwards and one backwards.

    Such a run begins with a `Conv2d` or `ConvBlock2d` and takes in those that follow on the same backend: activations
    after a convolution or a linear layer (nn.ReLU, nn.ReLU6, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.GELU, nn.Hardswish,
    nn.Hardsigmoid), poolings of 2 x 2 windows, nn.Flatten(), and nn.Linear after that. It needs a backend with such a
    step (`numba`), contiguous float32 or float64 images (N, C, H, W) on the CPU, and layers without hooks. Other layers
    are called one by one, with the same result to rounding; under autocast, torch.compile, transforms and tracers all
    are. Gradients of any order exist.

    Raises what its layers raise.
    """

    def forward(self, input: Any) -> Any:
        layers: list[Any] = list(self)
        result = input
        while layers:
            begins = _is_convolution(layers[0]) and is_plain(result)
            run = _first_run(layers, result) if begins else None
            if run is None:
                result = layers.pop(0)(result)
            else:
                result = chain_autograd.apply(run, result)
                del layers[: run.layers]
        return result

    def extra_repr(self) -> str:
        return "fuse=True"


def whole_run(model: Any, x: Tensor) -> Run | None:
    """Returns the run that is all of a `Sequential` on ``x``, or None for a module that isn't one step."""
    if type(model).forward is not Sequential.forward or not _is_free(model) or not is_plain(x):
        return None
    layers: list[Any] = list(model)
    run = _first_run(layers, x) if layers and _is_convolution(layers[0]) else None
    return run if run is not None and run.layers == len(layers) else None


def _first_run(layers: list[Any], x: Tensor) -> Run | None:
    """Returns the longest run of layers from the first on that is one step for ``x``, or None if none begins there.

    A run begins with a convolution. It takes in convolutions on the same backend, activations and poolings that
    directly follow one, and linear layers that follow once the images are flattened.

    Raises what the layers' own calls would, for images that don't fit them.
    """
    stages: list[Stage] = []
    parameters: list[Tensor | None] = []
    backend: Backend | None = None
    flat, taken = False, 0
    for number, layer in enumerate(layers, 1):
        kind = type(layer)
        if not _is_free(layer):
            break
        if _is_convolution(layer):
            own = registry.resolve(layer._fastconv_backend)
            if flat or layer.padding_mode != "zeros" or own is not (backend or own):
                break
            backend = own
            stages.append(_convolution(layer))
            parameters += layer.weight, layer.bias
        elif kind is nn.Linear and flat:
            stages.append(Stage(tuple(layer.weight.shape), POINT, None, None))
            parameters += layer.weight, layer.bias
        elif kind is nn.Flatten and stages and (layer.start_dim, layer.end_dim) == (1, -1):
            flat = True
        elif not stages or not _join(stages, layer, backend, flat=flat):
            break
        taken = number
    if backend is None:
        return None
    return run_of(backend, x, tuple(stages), parameters, flat=flat, layers=taken)


def _is_convolution(layer: nn.Module) -> bool:
    # By identity, since a class of torch's is equal to its stand-in.
    return type(layer) is Conv2d or type(layer) is ConvBlock2d


def _is_free(layer: nn.Module) -> bool:
    """Returns True if a layer has no hooks and no methods of its own."""
    own = vars(layer)
    return not (has_hooks(layer) or any(method in own for method in COMPUTING))


def _convolution(layer: Any) -> Stage:
    shape = tuple(layer.weight.shape)
    activation, pool = (layer.activation, layer.pool) if type(layer) is ConvBlock2d else (None, None)
    how = [tuple(each) if isinstance(each, list) else each for each in (layer.stride, layer.padding, layer.dilation)]
    return _convolution_stage(shape, *how, layer.groups, activation, pool)


@lru_cache(maxsize=4096)
def _convolution_stage(
    weight: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: int, activation: Any, pool: Any
) -> Stage:
    return Stage(weight, conv_parameters(weight[2:], stride, padding, dilation, groups), activation, pool)  # type: ignore[arg-type]


def _join(stages: list[Stage], layer: Any, backend: Backend | None, *, flat: bool) -> bool:
    """Let the last stage do an activation's or a pooling's work too; returns False if it can't."""
    last = stages[-1]
    activation = _activation(layer)
    if activation is not None:
        if last.activation is not None or last.pool is not None:
            return False
        stages[-1] = last._replace(activation=activation)
        return True
    pool = _pool(layer)
    if pool is None or last.pool is not None or flat or registry.resolve(layer._fastconv_backend) is not backend:
        return False
    stages[-1] = last._replace(pool=pool)
    return True


def _activation(layer: Any) -> Activation | None:
    """Which activation a layer is, if it is one."""
    if type(layer) is nn.GELU:
        return _GELUS.get(layer.approximate)
    return _ACTIVATIONS.get(type(layer))


def _pool(layer: Any) -> Pooling | None:
    """Which pooling of 2 x 2 windows a layer is, if it is one."""
    return pooling_in_pairs(vars(layer)) if type(layer) is MaxPool2d or type(layer) is AvgPool2d else None
