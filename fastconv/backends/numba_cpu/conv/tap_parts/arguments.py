"""This module declares the arguments of a job in parts."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class PartsArguments(ConvArguments):
    """These arguments add the address and number of the parts' own arguments to the arguments of all algorithms."""

    templates: int
    """Address of the parts' arguments, one after another, without the operands' addresses."""
    parts: int
    """Number of parts."""
    places: int
    """Address of `TABLE_WORDS` integers for each element of the kernel: see tasks.py."""
