"""A layer's text: what it describes, that it comes back as it was, and that a mistake is named."""

from __future__ import annotations

import pytest

from fastconv.geometry import ConvGeometry, PoolGeometry
from fastconv.layer import Layer, LayerError, parse


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("N=8 C=64 H=56 K=128 R=3", Layer("conv", ConvGeometry(8, 64, 56, 56, 128, 3, 3))),
        (
            "N=1 C=4 H=9 W=8 K=6 R=3 S=2 stride=2x1 padding=1x2 dilation=1x2 groups=2 dtype=float64 op=weight",
            Layer(
                "conv",
                ConvGeometry(1, 4, 9, 8, 6, 3, 2, (2, 1), (1, 1, 2, 2), (1, 2), 2),
                "float64",
                operation="weight",
            ),
        ),
        ("N=1 C=4 H=9 K=6 R=2 padding=0x1x0x1", Layer("conv", ConvGeometry(1, 4, 9, 9, 6, 2, 2, padding=(0, 1, 0, 1)))),
        ("pool=max N=1 C=4 H=9 R=3", Layer("max", PoolGeometry(1, 4, 9, 9, 3, 3, (3, 3)))),
        (
            "pool=max N=1 C=4 H=9 R=3 S=2 stride=2x1 padding=1 dilation=2x1 ceil_mode=1 layout=channels_last",
            Layer("max", PoolGeometry(1, 4, 9, 9, 3, 2, (2, 1), (1, 1), (2, 1), True), layout="channels_last"),
        ),
        (
            "pool=avg N=1 C=4 H=9 R=3 stride=1 count_include_pad=0 divisor_override=5 op=backward",
            Layer(
                "avg",
                PoolGeometry(1, 4, 9, 9, 3, 3, (1, 1), count_include_pad=False, divisor_override=5),
                operation="backward",
            ),
        ),
    ],
)
def test_a_text_and_its_layer(text: str, layer: Layer) -> None:
    assert parse(text) == layer
    assert str(layer) == text
    assert parse(f"{text.replace(' ', ', ')}  # numba: direct, 0.3 ms") == layer


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "N, C, H, K, R are missing; N, C, H, K, R are needed"),
        ("N=8 C=3 H=5 K=1", "R is missing; N, C, H, K, R are needed"),
        ("N=8 C=x H=5 K=1 R=3", "C is 'x', but must be a whole number from 1 to 2147483647"),
        (f"N={'9' * 5000} C=3 H=5 K=1 R=3", "N is '9999.*, but must be a whole number from 1"),
        ("N=8 C= H=5 K=1 R=3", "C is '', but must be"),
        ("N=8 C=3.5 H=5 K=1 R=3", "C is '3.5', but must be"),
        ("N=8 C=-3 H=5 K=1 R=3", "C is '-3', but must be"),
        ("N=8 C=3 H=5 K=0 R=3", "K is '0', but must be a whole number from 1 to 2147483647"),
        ("N=8 C=3 H=5 K=1 R=3 padding=-1", "padding is '-1', but must be a whole number from 0 to"),
        (
            "N=8 C=3 H=5 K=1 R=3 padding=1,2",
            "padding is '1,2', but must be a whole number from 0 to 2147483647, or HEIGHTxWIDTH",
        ),
        (
            "N=8 C=3 H=5 K=1 R=3 depth=2",
            "no field is called 'depth'; they are pool, N, C, H, W, K, R, S, stride, padding,",
        ),
        ("n=8 C=3 H=5 K=1 R=3", "no field is called 'n'; they are pool, N,"),
        ("N=8 C=3 H=5 K=1 R=3 N=4", "N is given twice"),
        ("N=8 C=3 H=5 K=4 R=3 groups=2", "groups is 2, but must divide C, which is 3"),
        ("N=8 C=4 H=5 K=3 R=3 groups=2", "groups is 2, but must divide K, which is 3"),
        ("N=8 C=3 H=5 K=4 R=7", "R is 7, with which the kernel reaches over 7 pixels; H and padding allow 5"),
        ("N=8 C=3 H=9 W=3 K=4 R=3 padding=1 dilation=3", "S is 3, .* reaches over 7 pixels; W and padding allow 5"),
        (f"N={10**9} C={10**9} H=5 K=4 R=3", "bytes; at most 5e\\+18"),
        ("N=8 C=3 H=5 K=1 R=3 4", "'4' is no field with a value; write NAME=VALUE, such as N=8 or stride=2x1"),
        ("N=8 C=3 H=5 K=1 R=3 stride=2x1x1", "stride is '2x1x1', but must be .*, or two of them, HEIGHTxWIDTH"),
        ("N=8 C=3 H=5 K=1 R=3 stride=0x1", "stride is '0x1', but must be a whole number from 1 to"),
        ("N=8 C=3 H=5 K=1 R=3 padding=1x1x1", "padding is '1x1x1', but must be .*TOPxBOTTOMxLEFTxRIGHT"),
        ("N=8 C=3 H=5 K=1 R=3 dtype=half", "dtype is 'half', but must be float32 or float64 or float16 or bfloat16"),
        ("N=8 C=3 H=5 K=1 R=3 layout=NHWC", "layout is 'NHWC', but must be contiguous or channels_last"),
        ("N=8 C=3 H=5 K=1 R=3 op=train", "op is 'train', but must be forward or backward or input or weight"),
        ("N=8 C=3 H=5 K=1 R=3 ceil_mode=1", "ceil_mode is given, but a convolution has N, C, H, W, K, R, S, stride"),
        ("pool=min N=8 C=3 H=5 R=3", "pool is 'min', but must be max or avg"),
        ("pool=max N=8 C=3 H=5", "R is missing; N, C, H, R are needed"),
        (
            "pool=max N=8 C=3 H=5 R=3 K=4",
            "K is given, but pool=max has pool, N, C, H, W, R, S, stride, padding, dilation",
        ),
        ("pool=avg N=8 C=3 H=5 R=3 dilation=2", "dilation is given, but pool=avg has"),
        ("pool=avg N=8 C=3 H=5 R=3 op=weight", "op is 'weight', but of pool=avg must be forward or backward"),
        ("pool=max N=8 C=3 H=5 R=3 ceil_mode=yes", "ceil_mode is 'yes', but must be 0 or 1"),
        ("pool=max N=8 C=3 H=5 R=3 padding=2", "padding is 2, but must be at most half of R, which is 3"),
        ("pool=max N=8 C=3 H=5 R=3 padding=0x1x0x1", "a pooling's must be the same on opposite sides"),
        ("pool=max N=8 C=3 H=5 R=7", "R is 7, with which the kernel reaches over 7 pixels; H and padding allow 5"),
    ],
)
def test_a_mistake_is_named(text: str, match: str) -> None:
    with pytest.raises(LayerError, match=match):
        parse(text)
