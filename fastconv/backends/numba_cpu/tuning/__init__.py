"""What a processor is to the planner: its costs (cost_model.py), and how work is cut into parts (splitting.py).

A module for each processor that was measured has its values. So far that is zen4.py alone, and all processors are
planned for by it.
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.tuning.zen4 import ZEN4

CPU = ZEN4
"""The model that plans are made by."""

__all__ = ["CPU"]
