"""These are the costs of convolutions from single channels, as parts of a cost model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DepthwiseCosts:
    """These are the costs of a depthwise convolution, from a single channel in each group."""

    task: int
    """Cycles that a task should take at least, some microseconds."""
    load: float
    """Cycles to load a vector that crosses a cache line."""
    free_taps: int
    """Number of taps whose weights and pixels stay in registers; those of each further tap are read again."""
    spill: float
    """Cycles for each tap that is read again."""
    line: int
    """Cycles of a vector in a row of a plane, before its first tap."""
    call: int
    """Cycles to start a plane, or a part of a plane that is one vector wide."""
    expanded_bytes: int
    """Size of an expanded image from which on its rows are made as they are needed, in bytes."""
    strip_bytes: int
    """Size limit of the rows of a panel of expanded channels, and of the images' rows below it, in bytes."""


@dataclass(frozen=True)
class PlaneLanesCosts:
    """These are the costs of a convolution of small planes, as many at a time as a vector has lanes."""

    most_bytes: int
    """Size limit of a vector of planes, in bytes, so that it stays in the L1 cache with its results."""
    point: float
    """Cycles to transpose a pixel of a vector of planes."""
    tap: float
    """Cycles to transpose a tap of a vector of kernels."""
    row: float
    """Cycles to start a row of results of a vector of planes."""
