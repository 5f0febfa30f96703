"""The arguments of a job in parts."""

from __future__ import annotations

from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments


class PartsArguments(ConvArguments):
    """Where the parts' own arguments are, besides what all algorithms need."""

    templates: int
    """Address of the arguments of the parts, one behind another, addresses of operands left out."""
    parts: int
    """How many parts there are."""
    places: int
    """Address of `TABLE_WORDS` integers for each element of the kernel, of a weight gradient: see tasks.py."""
