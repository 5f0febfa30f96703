"""`ExpandedArguments` are the arguments of a depthwise convolution from channels that are made as they are needed."""

from __future__ import annotations

from fastconv.backends.numba_cpu.conv.depthwise.arguments import PlaneArguments


class ExpandedArguments(PlaneArguments):
    """These arguments add the expansion to those of the depthwise convolution, whose source is the expanded image."""

    images: int
    """Address of the images that are expanded."""
    image_channels: int
    expansion: int
    """Address of the expansion's weight."""
    expansion_bias: int
    """Address of its bias, or 0."""
    expansion_limits: int
    """Address of two numbers, the limits of its results."""
    expansion_activation: int
    """Address of a function that activates its results in place, or 0."""
    expanding: int
    """Address of a table of its micro-kernels: for a whole tile, for 1, 2, ... vectors, and then for the last rows."""
    expanded: int
    """Bytes from the beginning of a thread's workspace to the expanded rows."""
    pitch: int
    """Elements between channels of the expanded rows."""
