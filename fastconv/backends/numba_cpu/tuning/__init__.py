"""This folder describes processors to the planner: their costs (cost_model.py), and how work is split (splitting.py).

Each processor that was measured has a module with its values. So far there is only zen4.py, and its values are used for
all processors.
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.tuning.zen4 import ZEN4

CPU = ZEN4
"""The cost model that all plans are made with."""

__all__ = ["CPU"]
