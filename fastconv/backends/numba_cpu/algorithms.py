"""`ALGORITHMS` is the table of algorithms: each has a name, two kinds of plan, and a sentence that says what it is for.

The planner goes through the table and knows no algorithm by name. A further algorithm is a folder in conv/ and a row
here; CONTRIBUTING.md says what the folder must provide. An algorithm with several forms has a row for each, with the
form in brackets, and its name alone stands for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.backends.numba_cpu.conv.channel_lanes.plan import ChannelsConvolution
from fastconv.backends.numba_cpu.conv.depthwise.plan import DepthwiseConvolution, DepthwiseWeightGradient
from fastconv.backends.numba_cpu.conv.depthwise.rows import MOST_TAPS, WIDEST
from fastconv.backends.numba_cpu.conv.direct.plan import DirectConvolution, DirectWeightGradient
from fastconv.backends.numba_cpu.conv.image_lanes.plan import BatchConvolution, BatchWeightGradient
from fastconv.backends.numba_cpu.conv.implicit_gemm.plan import GemmConvolution, GemmWeightGradient
from fastconv.backends.numba_cpu.conv.matmul.plan import MatrixConvolution, MatrixWeightGradient
from fastconv.backends.numba_cpu.conv.plan import Convolution, WeightGradient
from fastconv.backends.numba_cpu.conv.plane_lanes.plan import PlaneLanesConvolution
from fastconv.backends.numba_cpu.conv.winograd import plan as winograd


@dataclass(frozen=True)
class Algorithm:
    """An algorithm computes convolutions, their input gradients (convolutions too) and their weight gradients."""

    convolution: type[Convolution]
    weight_gradient: type[WeightGradient]
    limits: str
    """Description of the problems that it can do."""


ALGORITHMS = {
    "gemm": Algorithm(GemmConvolution, GemmWeightGradient, "any convolution"),
    "direct": Algorithm(
        DirectConvolution, DirectWeightGradient, "images a row of which, all channels, takes 1.5 MiB at most"
    ),
    **{f"winograd({form})": Algorithm(*plans, winograd.limits(form)) for form, plans in winograd.PLANS.items()},
    "batch": Algorithm(
        BatchConvolution,
        BatchWeightGradient,
        "images whose rows under a kernel, of as many images as a vector has lanes, take 3 MiB at most",
    ),
    "matrix": Algorithm(
        MatrixConvolution,
        MatrixWeightGradient,
        "pixels that take 8 MiB at most under all taps; weight gradients of images whose rows under a kernel, a vector "
        "of channels, take 384 KiB at most",
    ),
    "channels": Algorithm(
        ChannelsConvolution,
        MatrixWeightGradient,
        "images whose rows under a kernel, of 32 channels, take 384 KiB at most",
    ),
    "depthwise": Algorithm(
        DepthwiseConvolution,
        DepthwiseWeightGradient,
        f"one channel to a group, at most {MOST_TAPS} taps, steps of one or two columns, rows up to {WIDEST}",
    ),
    "planes": Algorithm(
        PlaneLanesConvolution,
        DepthwiseWeightGradient,
        "one channel to a group, in and out; groups, and pixels of a plane, that fill a vector; rows of results that "
        "fill half of one at most; and planes of which a vector takes 16 KiB at most",
    ),
}


def _named() -> dict[str, tuple[str, ...]]:
    """Return `NAMES`: that of an algorithm in all its forms comes before those of single forms."""
    found: dict[str, tuple[str, ...]] = {}
    for name in ALGORITHMS:
        whole = name.partition("(")[0]
        found[whole] = (*found.get(whole, ()), name)
    return found | {name: (name,) for name in ALGORITHMS}


NAMES = _named()
"""The names by which algorithms are asked for, each with the rows of the table that it stands for."""
