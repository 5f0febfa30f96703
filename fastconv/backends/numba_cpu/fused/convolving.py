"""`convolving` chooses the plan of a block's convolution, with as much of what follows as the plan does by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from fastconv.backends.block import Block
from fastconv.backends.numba_cpu.fused import post_op
from fastconv.backends.numba_cpu.fused.formulas.activations import ACTIVATIONS, NONE
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.runtime.program import Place
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry


class Planner(Protocol):
    """Makes the plans of convolutions."""

    algorithm: str | None
    """Name of the algorithm that all plans must take, or None where the planner chooses."""

    def plans(
        self,
        operation: str,
        simd: Simd,
        geometry: ConvGeometry,
        limits: tuple[float, float] | None = None,
        *,
        kept: bool = False,
    ) -> tuple[list[Any], list[Job], bool]:
        """Return the plans for "conv2d", "conv2d_input" or "conv2d_weight", and their jobs.

        ``limits`` are the limits of a convolution's results, ``kept`` says that packed weights are kept for later runs.
        The third value says whether the jobs write every element of the result.
        """
        ...


@dataclass(frozen=True)
class Convolving:
    """A convolution that is ready to be written into a program."""

    plan: Any
    job: Job
    limits: tuple[float, float] | None
    """Limits of the results, which the plan applies; where the job's operands are exchanged, a pass with the bias."""
    residual: tuple[Place, ...]
    """The place of the residual, if the plan adds it."""
    follows: bool
    """True if a pass over the results follows, for the activation or the residual."""


def convolving(
    planner: Planner, simd: Simd, block: Block, residual: Place | None, *, kept: bool, activates: bool
) -> Convolving:
    """Return a block's convolution, followed by the addition of a residual and by the block's activation.

    ``kept`` is that of `Planner.plans`; without ``activates``, an activation that is more than limits is left to a pass
    of its own, which also saves what it reads.
    """
    activation = None if block.activation is None else ACTIVATIONS[block.activation]
    limits = None if activation is None else activation.limits
    (plan,), (job,), _ = planner.plans("conv2d", simd, block.geometry, limits, kept=kept)
    added: tuple[Place, ...] = ()
    if residual is not None:
        adding = None if job.exchanged else plan.adding()
        if adding is None:  # Limits come after the residual.
            (plan,), (job,), _ = planner.plans("conv2d", simd, block.geometry, kept=kept)
            return Convolving(plan, job, None, (), follows=True)
        plan, added = adding, (residual,)
    if activation is None or limits is not None:
        return Convolving(plan, job, limits, added, follows=False)
    activated = None
    if activates and not job.exchanged:
        activated = plan.activated(lambda: post_op.in_place(simd, block.activation or NONE))
    return Convolving(plan if activated is None else activated, job, None, added, follows=activated is None)
