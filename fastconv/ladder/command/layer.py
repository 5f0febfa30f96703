"""The layer that is measured: from a text to a geometry, and the variations of it that single rungs take."""

from __future__ import annotations

import re
from dataclasses import replace

from fastconv.arguments import conv_geometry
from fastconv.errors import ArgumentError, ArgumentValueError
from fastconv.geometry import ConvGeometry, ConvParameters

DEFAULT = "N=8 C=64 H=56 K=64 R=3 padding=1"
"""ResNet-50's second layer, 3x3 from 64 to 64 channels."""

NEEDED = ("N", "C", "H", "K", "R")

DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}

LONGEST_PIECE = 4, 4, 14
"""Channels, filters and pixels along an axis of the piece that rung 01, in Python, is timed on: 30,000 products."""


def parse(text: str) -> ConvGeometry:
    """Returns the geometry of a text of fields, N C H K R and, where wanted, W S stride padding dilation groups.

    Raises:
        ArgumentValueError: a field is unknown, missing, given twice or no number, or they don't fit together.
    """

    def refuse(why: str) -> ArgumentValueError:
        return ArgumentValueError("layer", repr(text), f"{why}; an example is {DEFAULT!r}")

    known = (*NEEDED, "W", "S", *DEFAULTS)
    fields: dict[str, int] = {}
    for word in text.replace(",", " ").split():
        found = re.fullmatch(r"(\w+)=(\d{1,9})", word)
        if not found:
            raise refuse(f"{word!r} must be a field and its number, as N=8")
        name, value = found[1], int(found[2])
        if name not in known or name in fields:
            raise refuse(f"{name!r} is given twice" if name in fields else f"its fields are {', '.join(known)}")
        fields[name] = value
    missing = [name for name in NEEDED if name not in fields]
    if missing or 0 in [value for name, value in fields.items() if name != "padding"]:
        raise refuse(f"{', '.join(missing)} must be given" if missing else "only padding may be 0")
    f = {"W": fields["H"], "S": fields["R"], **DEFAULTS, **fields} if not missing else {}
    how = ConvParameters((f["stride"],) * 2, (f["padding"],) * 4, (f["dilation"],) * 2, f["groups"])
    if f["C"] % f["groups"]:
        raise refuse(f"groups must divide C, {f['C']}")
    x, w = (f["N"], f["C"], f["H"], f["W"]), (f["K"], f["C"] // f["groups"], f["R"], f["S"])
    try:
        return conv_geometry(x, w, None, how)
    except ArgumentError as error:
        raise refuse(str(error)) from None


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
