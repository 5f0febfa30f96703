"""`PlaneLanesArguments` are the arguments of a convolution of small planes."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class PlaneLanesArguments(ConvArguments):
    """These arguments add the taps' places and the size of a task to those of all algorithms."""

    tap_offsets: int
    """Address of a table: dy of each row of taps, then dx of each column."""
    tap_rows: int
    tap_columns: int
    task_planes: int
    """Channels in a task: a multiple of the lanes, or all of them."""
    task_images: int
    """Images in a task."""
