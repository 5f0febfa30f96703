"""`Panels` are weights that are packed or transformed once and kept, since a network's parameters stay as they are.

A convolution's first step is often to pack the weight: for one image of ResNet-18 the steps that do so take as long as
a fifth of all products. Two programs share the memory that the packed weights are in: one that packs them, and one that
runs the network.
"""

from __future__ import annotations

from typing import Any

from fastconv.backends.numba_cpu.runtime.program import Place, ProgramBuilder

_PAGE = 4096


class Panels:
    """Writes convolutions into a program, and the packing of their weights into another one."""

    def __init__(self, program: ProgramBuilder, packing: ProgramBuilder, memory: Place, *, exact: bool) -> None:
        """Write to ``program`` and ``packing``; ``memory`` is the operand that holds the weights in both.

        With ``exact``, plans whose sums have terms beyond the definition are left to their fallback.
        """
        self._program, self._packing, self._memory, self._exact = program, packing, memory, exact
        self._places: dict[tuple[Place, int], Place] = {}
        self.size = 0
        """The size of the weights, in bytes."""

    def record(self, plan: Any, x: Place, w: Place, b: Place | None, y: Place, *residual: Place) -> None:
        """Write the jobs of a convolution; the residual is that of a plan which adds one."""
        if self._exact and plan.spreads:
            plan = plan.exact()
        if not (plan.packs and plan.keeps):
            plan.record(self._program, x, w, b, y, *residual)
            return
        key = w, id(plan)
        if key not in self._places:
            self._places[key] = self._memory + self.size
            self.size += -(-plan.panels_bytes // _PAGE) * _PAGE
            plan.record_packing(self._packing, w, self._places[key])
        plan.record_packed(self._program, x, self._places[key], b, y, *residual)
