"""The limits of the processor that problems are compared with, as `fastconv.cpu_limits` measures them."""

from __future__ import annotations

from fastconv.bench.results import Limit
from fastconv.cpu_limits import copy_bandwidth, peak_flops

FOOTPRINTS = tuple(2**exponent for exponent in range(16, 29, 2))
"""64 KiB to 256 MiB a process: read and written bytes together."""


def measure(threads: int) -> Limit:
    """The limits of this machine for a number of threads: the best of ten rounds of 0.1 s each. Takes some 15 s."""
    return Limit(peak_flops(threads), {size: copy_bandwidth(threads, size) for size in FOOTPRINTS})
