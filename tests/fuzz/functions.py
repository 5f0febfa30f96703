"""One strategy of valid calls for every function of the API."""

from __future__ import annotations

from hypothesis.strategies import SearchStrategy

from . import calls, pools
from .calls import Call

FORWARD: dict[str, SearchStrategy[Call]] = {
    "conv1d": calls.convolution(1),
    "conv2d": calls.convolution(2),
    "conv_transpose1d": calls.transposed_convolution(1),
    "conv_transpose2d": calls.transposed_convolution(2),
    "max_pool1d": pools.max_pooling(1),
    "max_pool2d": pools.max_pooling(2),
    "avg_pool1d": pools.average_pooling(1),
    "avg_pool2d": pools.average_pooling(2),
    "adaptive_avg_pool1d": pools.adaptive_pooling("avg", 1),
    "adaptive_avg_pool2d": pools.adaptive_pooling("avg", 2),
    "adaptive_max_pool1d": pools.adaptive_pooling("max", 1),
    "adaptive_max_pool2d": pools.adaptive_pooling("max", 2),
    "lp_pool1d": pools.power_pooling(1),
    "lp_pool2d": pools.power_pooling(2),
    "max_unpool2d": pools.unpooling(),
    "unfold": calls.unfolding(),
    "fold": calls.folding(),
}
"""Those of `torch.nn.functional`."""

GRADIENTS: dict[str, SearchStrategy[Call]] = {
    "conv2d_backward": calls.convolution_gradient("conv2d_backward"),
    "conv2d_input": calls.convolution_gradient("conv2d_input"),
    "conv2d_weight": calls.convolution_gradient("conv2d_weight"),
    "max_pool2d_backward": pools.max_pooling_gradient(),
    "avg_pool2d_backward": pools.average_pooling_gradient(),
}
"""The explicit ones."""

EVERY = {**FORWARD, **GRADIENTS}
