"""The one table of problems that every backend is proved on.

Each has a name for people; small enough to be quick, odd enough to be telling: remainders around every edge, all
parameters alone and together, and the layers of the networks that people train first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ConvCase:
    """A convolution: shapes of input (N, C, H, W) and weight (K, C / groups, R, S), and keyword arguments."""

    name: str
    x: tuple[int, int, int, int]
    w: tuple[int, int, int, int]
    how: dict[str, Any] = field(default_factory=dict)
    bias: bool = True
    large: bool = False
    """Too much for a simulated GPU, which runs a thread of Python for each element; `tests/gpu` does it."""


@dataclass(frozen=True)
class PoolCase:
    """A pooling: the input's shape, the kernel and keyword arguments that max and average pooling share."""

    name: str
    x: tuple[int, int, int, int]
    kernel: Any
    how: dict[str, Any] = field(default_factory=dict)
    large: bool = False


CONVOLUTIONS = [
    ConvCase("one_pixel", (1, 1, 1, 1), (1, 1, 1, 1)),
    ConvCase("pointwise", (2, 5, 4, 3), (7, 5, 1, 1)),
    ConvCase("whole_image", (2, 3, 4, 5), (4, 3, 4, 5)),
    ConvCase("no_bias", (2, 3, 6, 5), (4, 3, 3, 3), {}, bias=False),
    ConvCase("same_odd", (2, 3, 6, 5), (4, 3, 3, 5), {"padding": "same"}),
    ConvCase("same_even", (2, 3, 6, 5), (4, 3, 2, 4), {"padding": "same"}),
    ConvCase("same_even_dilated", (1, 2, 7, 9), (3, 2, 2, 4), {"padding": "same", "dilation": (3, 1)}),
    ConvCase("valid", (1, 2, 7, 6), (3, 2, 3, 2), {"padding": "valid", "stride": (2, 1)}),
    ConvCase("four_sides", (2, 3, 6, 5), (4, 3, 3, 3), {"padding": (0, 2, 1, 3)}),
    ConvCase("four_sides_strided", (1, 2, 5, 8), (3, 2, 3, 2), {"padding": (2, 0, 0, 1), "stride": (2, 3)}),
    ConvCase("padding_beyond_kernel", (1, 2, 3, 3), (2, 2, 2, 2), {"padding": (4, 3)}),
    ConvCase("stride_2", (2, 3, 9, 8), (4, 3, 3, 3), {"stride": 2, "padding": 1}),
    ConvCase("stride_beyond_kernel", (2, 3, 11, 10), (4, 3, 2, 2), {"stride": (4, 3)}),
    ConvCase("stride_leaves_rest", (1, 2, 8, 10), (3, 2, 3, 3), {"stride": 3}),
    ConvCase("stride_1x1", (1, 4, 7, 7), (3, 4, 1, 1), {"stride": 2}),
    ConvCase("dilated", (2, 3, 9, 8), (4, 3, 3, 2), {"dilation": (2, 3)}),
    ConvCase("dilated_strided_padded", (1, 3, 10, 9), (2, 3, 3, 3), {"dilation": 2, "stride": 2, "padding": 2}),
    ConvCase(
        "asymmetric_all",
        (2, 4, 9, 7),
        (6, 2, 3, 2),
        {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2},
    ),
    ConvCase("groups_2", (2, 4, 6, 5), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
    ConvCase(
        "groups_23_channels", (1, 46, 5, 5), (4, 23, 3, 3), {"groups": 2, "stride": 2, "dilation": 2, "padding": 2}
    ),
    ConvCase("depthwise", (2, 5, 6, 5), (5, 1, 3, 3), {"groups": 5, "padding": 1}),
    ConvCase("depthwise_multiplier", (2, 3, 6, 5), (9, 1, 3, 3), {"groups": 3, "stride": 2}),
    ConvCase("tall", (1, 2, 17, 3), (3, 2, 5, 1), {"padding": (2, 0)}),
    ConvCase("wide", (1, 2, 2, 19), (3, 2, 1, 6), {"stride": (1, 2)}),
    ConvCase("large_kernel", (1, 2, 13, 13), (2, 2, 11, 11), {"stride": 4, "padding": 5}),
    ConvCase("channels_17_to_33", (2, 17, 5, 6), (33, 17, 3, 3), {"padding": 1}),
    ConvCase("one_column_strided", (2, 3, 7, 1), (4, 3, 3, 1), {"stride": (1, 3)}),
    ConvCase("one_pixel_strided", (2, 6, 1, 2), (4, 3, 1, 1), {"stride": 2, "padding": (1, 0, 2, 0), "groups": 2}),
    ConvCase("as_wide_as_the_image", (3, 2, 7, 9), (20, 2, 3, 9)),
    ConvCase("as_high_as_the_image", (2, 3, 6, 9), (4, 3, 6, 2), {"stride": (3, 2), "padding": (0, 1)}),
    ConvCase("wider_than_the_image", (2, 3, 5, 4), (4, 3, 2, 9), {"padding": (0, 3)}),
    ConvCase("stride_beyond_image", (2, 3, 5, 4), (4, 3, 2, 3), {"stride": 1000, "padding": (1, 0)}),
    ConvCase("taps_in_the_padding", (2, 5, 1, 2), (6, 5, 3, 5), {"padding": (1, 2)}),
    ConvCase("dilation_beyond_image", (2, 3, 4, 5), (4, 3, 3, 3), {"padding": 6, "dilation": 6}),
    ConvCase("nothing_but_padding", (1, 2, 1, 1), (3, 2, 1, 1), {"padding": 1, "stride": 3}),
    ConvCase("empty_batch", (0, 3, 6, 5), (4, 3, 3, 3), {"padding": 1}),
    ConvCase("empty_batch_groups", (0, 4, 6, 5), (4, 2, 3, 3), {"groups": 2}),
    ConvCase("no_channels", (2, 0, 6, 5), (4, 0, 3, 3)),
    ConvCase("channels_1001", (1, 1001, 1, 1), (3, 1001, 1, 1)),
    ConvCase("channels_100000", (1, 100_000, 1, 1), (32, 100_000, 1, 1), large=True),
    ConvCase("axis_1025", (1, 1, 1, 1025), (2, 1, 1, 3)),
    ConvCase("long_axis", (1, 1, 1, 2**17 + 1), (2, 1, 1, 3), large=True),
    ConvCase("batch_of_6", (6, 2, 4, 5), (3, 2, 3, 3), {"padding": 1}),
    ConvCase("one_to_few_channels", (5, 1, 9, 8), (6, 1, 5, 5), {"padding": 2}),
    ConvCase("few_to_many_channels", (2, 6, 5, 6), (20, 6, 5, 5)),
    ConvCase("lenet_conv1", (4, 1, 28, 28), (6, 1, 5, 5), {"padding": 2}, large=True),
    ConvCase("lenet_conv2", (4, 6, 14, 14), (16, 6, 5, 5), large=True),
    ConvCase("lenet_conv3", (4, 16, 5, 5), (120, 16, 5, 5), large=True),
    ConvCase("simple_convnet", (2, 1, 28, 28), (30, 1, 5, 5), large=True),
    ConvCase("resnet_stem", (1, 3, 32, 30), (16, 3, 7, 7), {"stride": 2, "padding": 3}, large=True),
]

POOLINGS = [
    PoolCase("one_pixel", (1, 1, 1, 1), 1),
    PoolCase("halves", (2, 3, 6, 8), 2),
    PoolCase("drops_rest", (2, 3, 7, 9), 2),
    PoolCase("ceil_keeps_rest", (2, 3, 7, 9), 2, {"ceil_mode": True}),
    PoolCase("ceil_drops_outside", (1, 2, 6, 4), (2, 3), {"stride": (5, 3), "ceil_mode": True}),
    PoolCase("ceil_padding", (1, 2, 5, 8), 3, {"stride": 2, "padding": 1, "ceil_mode": True}),
    PoolCase("overlapping", (2, 3, 7, 8), 3, {"stride": 1}),
    PoolCase("overlapping_padded", (2, 3, 7, 8), (3, 2), {"stride": (2, 1), "padding": (1, 1)}),
    PoolCase("gaps", (1, 2, 11, 10), 2, {"stride": (4, 3)}),
    PoolCase("tall", (1, 2, 9, 2), (5, 1), {"stride": (2, 1), "padding": (2, 0)}),
    PoolCase("global", (2, 5, 6, 7), (6, 7)),
    PoolCase("empty_batch", (0, 3, 6, 8), 2),
    PoolCase("axis_1025", (1, 1, 1025, 1), (3, 1), {"stride": 2}),
    PoolCase("long_axis", (1, 1, 2**17 + 1, 1), (3, 1), {"stride": 2}, large=True),
    PoolCase("lenet", (2, 6, 28, 28), 2),
    PoolCase("resnet", (1, 4, 16, 17), 3, {"stride": 2, "padding": 1}),
]

DILATED_POOLINGS = [
    PoolCase("dilated", (1, 2, 9, 8), 3, {"dilation": 2, "stride": 1}),
    PoolCase(
        "dilated_padded_ceil", (2, 2, 9, 10), (2, 3), {"dilation": (3, 2), "stride": 2, "padding": 1, "ceil_mode": True}
    ),
]

MAX_POOLINGS = POOLINGS + DILATED_POOLINGS

AVERAGES = [
    *[(case, {}) for case in POOLINGS],
    *[(case, {"count_include_pad": False}) for case in POOLINGS if case.how.get("padding")],
    (POOLINGS[1], {"divisor_override": 3}),
    (POOLINGS[5], {"divisor_override": -2, "count_include_pad": False}),
]
"""Cases of average pooling with the arguments that it has to itself."""


def named(case: Any) -> str:
    """A case's id in pytest's output."""
    case, extra = case if isinstance(case, tuple) else (case, {})
    return "-".join([case.name, *[f"{key}={value}" for key, value in extra.items()]])
