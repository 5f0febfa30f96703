"""The layer that is measured: from a text to a geometry, and the variations of it that single rungs take."""

from __future__ import annotations

from dataclasses import replace

from fastconv import layer
from fastconv.errors import ArgumentValueError
from fastconv.geometry import ConvGeometry
from fastconv.layer import Layer, LayerError

DEFAULT = "N=8 C=64 H=56 K=64 R=3 padding=1"
"""ResNet-50's second layer, 3x3 from 64 to 64 channels."""

LONGEST_PIECE = 4, 4, 14
"""Channels, filters and pixels along an axis of the piece that rung 01, in Python, is timed on: 30,000 products."""


def parse(text: str) -> ConvGeometry:
    """Returns the geometry of a convolution that a text describes; `fastconv.layer` has the fields.

    Raises:
        ArgumentValueError: a field is unknown, missing, given twice or impossible, or not what rungs compute.
    """
    try:
        found = layer.parse(text)
        if found != Layer("conv", found.geometry):
            raise LayerError("rungs are convolutions of contiguous float32: pool, dtype, layout and op can't be given")
    except LayerError as error:
        raise ArgumentValueError("layer", repr(text), f"{error}; an example is {DEFAULT!r}") from None
    assert isinstance(found.geometry, ConvGeometry)
    return found.geometry


def piece(g: ConvGeometry) -> ConvGeometry:
    """Returns a small part of a layer with as few groups as possible, for the rung that is too slow for all of it."""
    channels, filters, pixels = LONGEST_PIECE
    reach = g.dilation[0] * (g.R - 1) + 1, g.dilation[1] * (g.S - 1) + 1
    H, W = (min(size, max(pixels, least)) for size, least in zip((g.H, g.W), reach, strict=True))
    C, K = min(g.C // g.groups, channels), min(g.K // g.groups, filters)
    return replace(g, N=1, C=C, H=H, W=W, K=K, groups=1)


def depthwise(g: ConvGeometry) -> ConvGeometry:
    """Returns the layer with one channel a group, as many filters as channels."""
    return replace(g, K=g.C, groups=g.C)


def describe(g: ConvGeometry) -> str:
    """Returns the layer as a text that people read."""
    rest = {"stride": g.stride, "dilation": g.dilation}
    words = [f"{name} {at[0]}x{at[1]}" for name, at in rest.items() if at != (1, 1)]
    words += [f"padding {'/'.join(map(str, sorted(set(g.padding))))}"] if any(g.padding) else []
    words += [f"{g.groups} groups"] if g.groups > 1 else []
    return ", ".join([f"{g.N} x {g.C} x {g.H} x {g.W} to {g.K} channels by {g.R}x{g.S}", *words])
