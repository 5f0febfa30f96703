"""`torch.nn.Sequential` whose layers run together where they can."""

from __future__ import annotations

from typing import Any

from torch import nn

from fastconv.torch import chains
from fastconv.torch.blocks import ConvBlock2d
from fastconv.torch.modules import Conv2d


class Sequential(nn.Sequential):
    """`torch.nn.Sequential`; layers of fastconv's that follow one another run as one step forwards and one backwards.

    Such a run begins with a `Conv2d` or `ConvBlock2d` and takes in those that follow on the same backend, nn.ReLU and
    nn.Tanh behind a convolution or a linear layer, poolings of 2 x 2 windows, nn.Flatten(), and nn.Linear after that.
    It needs a backend with such a step (`numba`), contiguous float32 or float64 images (N, C, H, W) on the CPU, and
    layers without hooks. All else is called layer by layer, and the result is the same to rounding; under autocast,
    torch.compile, transforms and tracers everything is. Gradients of any order exist.

    Raises what its layers raise.
    """

    def forward(self, input: Any) -> Any:
        layers: list[Any] = list(self._modules.values())
        result = input
        while layers:
            begins = type(layers[0]) in (ConvBlock2d, Conv2d) and chains.is_plain(result)
            run = chains.first_run(layers, result) if begins else None
            if run is None:
                result = layers.pop(0)(result)
            else:
                result = chains.apply(run, result)
                del layers[: run.layers]
        return result
