"""These plans need fewer multiplications: a form of minimal filtering, larger kernels in pieces of the form's taps.

Each form is an algorithm of its own for the planner.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

from fastconv.backends.numba_cpu.conv.implicit_gemm.plan import GemmConvolution, GemmWeightGradient
from fastconv.backends.numba_cpu.conv.job_arguments import panel_bytes
from fastconv.backends.numba_cpu.conv.phases.plan import PhasedConvolution, PhasedWeightGradient
from fastconv.backends.numba_cpu.conv.phases.tiling import PhasedTiling, phased_tiling
from fastconv.backends.numba_cpu.conv.plan import Convolution, WeightGradient
from fastconv.backends.numba_cpu.conv.winograd import few_patches, forward, kernels, weight_grad
from fastconv.backends.numba_cpu.conv.winograd.arguments import FormSimd, WinogradArguments
from fastconv.backends.numba_cpu.conv.winograd.forms.form import FORMS, Form
from fastconv.backends.numba_cpu.conv.winograd.tiling import WinogradTiling, winograd_tiling, winograd_weight_tiling
from fastconv.backends.numba_cpu.gemm import micro_kernel
from fastconv.backends.numba_cpu.gemm.tiling import Tiling
from fastconv.backends.numba_cpu.lowering import Job
from fastconv.backends.numba_cpu.problem import Problem
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.backends.numba_cpu.tuning import CPU
from fastconv.geometry import Pair


class WinogradConvolution(Convolution):
    """This plan is a convolution of transformed patches.

    An infinite number, or one that overflows, spreads over its patch. So does the rounding error of a pixel, which must
    not show under a row or column of taps that are all 0, as in a causal kernel. The fallback computes these cases.
    """

    arguments = WinogradArguments
    fallback = GemmConvolution
    form: ClassVar[Form]
    packs = costs_weight = True
    _SPREADS = True

    def __init__(self, simd: Simd, job: Job, cut: WinogradTiling) -> None:
        p = job.problem
        # The kernels read taps by rows and columns; those of an input gradient come in reverse order.
        job = replace(job, problem=replace(p, taps=tuple(sorted(p.taps))))
        formed, pieces = form_simd(simd, self.form), self.form.pieces(p.kernel or (1, 1))
        shape, taps = (cut.tile_rows, cut.tile_vectors), len(p.taps)
        passes = pieces * -(-p.channels // cut.steps)
        step = kernels.weight_step(formed, cut.panels, cut.tile_rows, p.channels, pieces)
        if cut.patches_first:
            down, right = self.form.down.output, self.form.right.output
            tiles = -(-p.images * -(-p.lattice[0] // down) * -(-p.lattice[1] // right) // cut.width)
            blocks = cut.block_panels, cut.block_tiles, cut.tile_vectors
            thread_bytes = few_patches.workspace_bytes(formed, cut.steps, cut.tile_rows, *blocks, taps)
            numbers = few_patches.patch_numbers(formed, tiles, cut.width, pieces * p.channels, passes)
        else:
            blocks = cut.tile_rows, cut.block_panels, cut.tile_vectors
            thread_bytes = forward.workspace_bytes(formed, cut.steps, *blocks, taps)
            numbers = formed.products * step
        shared = "patches" if cut.patches_first else "panels"
        super().__init__(simd, job, cut, thread_bytes, p.groups * numbers * simd.itemsize, shared)
        self.args["first_y"], self.args["first_x"] = p.first
        self.args["tap_rows"], self.args["tap_columns"] = map(len, p.grid)
        self.args["weight_step"] = step
        self.args["kernel"] = micro_kernel.packed(simd, *shape)
        if cut.patches_first:
            self._packing = few_patches.pack(formed), p.groups * cut.panels
            self._first = few_patches.transform(formed), p.groups * tiles * passes
            self._second = few_patches.multiply(formed), self.tasks(p, cut)
        else:
            self._first = kernels.transform_weight(formed), p.groups * cut.panels
            self._second = forward.multiply(formed), self.tasks(p, cut)
            self.keeps = _is_worth_keeping(formed, p, pieces)

    @property
    def panels_bytes(self) -> int:
        if self._packing is None:
            return super().panels_bytes
        # A vector of the last tap's kernels may end behind them.
        return panel_bytes(self.simd, self.job.problem, self.cut) + self.simd.lanes * self.simd.itemsize

    @classmethod
    def tiling(cls, simd: Simd, p: Problem) -> WinogradTiling | PhasedTiling | None:
        """Return the cheapest tiling, or None if there are strides, or distances between taps differ."""
        if p.kernel is None:
            return phased_tiling(simd, p, cls)
        if not is_for(cls.form, p.kernel):
            return None
        pieces = cls.form.pieces(p.kernel)
        sizes = p.images, p.groups, p.rows, p.channels, p.lattice, pieces
        formed = form_simd(simd, cls.form)
        kept = p.kept and _is_worth_keeping(formed, p, pieces)
        found = winograd_tiling(formed, *sizes, kept=kept, packed=p.kept)
        if p.kept and not kept:
            # The transform waits for a weight that the rest of a network has driven out of the caches, and a product
            # reads it while it multiplies.
            numbers = p.groups * p.rows * p.channels * len(p.taps)
            found = replace(found, cycles=found.cycles + numbers * simd.itemsize / CPU.winograd.memory)
        return found

    @classmethod
    def of(cls, simd: Simd, job: Job, cut: Any) -> Any:
        return PhasedConvolution(simd, job, cut, cls) if isinstance(cut, PhasedTiling) else cls(simd, job, cut)

    @staticmethod
    def tasks(p: Problem, cut: WinogradTiling | PhasedTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        if isinstance(cut, PhasedTiling):
            return cut.tasks
        return p.groups * cut.blocks * cut.panel_blocks


class WinogradWeightGradient(WeightGradient):
    """This plan is a weight gradient of transformed patches.

    An infinite number, or one that overflows, spreads over all taps: the fallback computes these cases.
    """

    arguments = WinogradArguments
    fallback = GemmWeightGradient
    form: ClassVar[Form]
    _SPREADS = True

    def __init__(self, simd: Simd, job: Job, cut: Tiling) -> None:
        formed, shape = form_simd(simd, self.form), (cut.tile_rows, cut.tile_vectors)
        thread_bytes = weight_grad.workspace_bytes(formed, cut.steps, cut.block_tiles, cut.block_panels, *shape)
        super().__init__(simd, job, cut, thread_bytes)
        p = job.problem
        self.args["first_y"], self.args["first_x"] = p.first
        self.args["tap_rows"], self.args["tap_columns"] = map(len, p.grid)
        self.args["kernel"] = micro_kernel.packed(simd, *shape)
        self._first = weight_grad.multiply(formed), self.tasks(p, cut)

    @classmethod
    def tiling(cls, simd: Simd, p: Problem) -> Tiling | PhasedTiling | None:
        """Return the cheapest tiling, or None if there are strides, or distances between taps differ."""
        if p.kernel is None:
            return phased_tiling(simd, p, cls)
        if not is_for(cls.form, p.kernel):
            return None
        pieces = cls.form.pieces(p.kernel)
        sizes = p.images, p.groups, p.rows, p.channels, p.lattice, pieces, len(p.taps)
        return winograd_weight_tiling(form_simd(simd, cls.form), *sizes)

    @classmethod
    def of(cls, simd: Simd, job: Job, cut: Any) -> Any:
        return PhasedWeightGradient(simd, job, cut, cls) if isinstance(cut, PhasedTiling) else cls(simd, job, cut)

    @classmethod
    def tasks(cls, p: Problem, cut: Tiling | PhasedTiling) -> int:
        """Return the number of tasks, as `Plan.tasks`."""
        if isinstance(cut, PhasedTiling):
            return cut.tasks
        return p.groups * cut.blocks * cut.panel_blocks * cut.splits * cls.form.pieces(p.kernel or (1, 1))


_MOST_KEPT = 2 << 20
"""Size limit of a transformed weight that is kept for later runs, in bytes. It is up to four times as large as the
weight, and to read a larger one from memory takes as long as to transform it again: VGG-16 gets no faster, and takes
200 MB more."""


def _is_worth_keeping(formed: FormSimd, p: Problem, pieces: int) -> bool:
    """Return True for a weight that is small after its transformation."""
    numbers = formed.products * pieces * p.groups * p.rows * p.channels
    return numbers * formed.itemsize <= _MOST_KEPT


@cache
def is_for(form: Form, kernel: Pair) -> bool:
    """Return True for the forms of 3 x 3 taps, and for another form if none needs fewer products for a kernel.

    With tiles of one size, fewer products are always faster, and each form that is compared takes time at a new size.
    """
    fewest = min(each.products_for(kernel) for each in FORMS)
    return form in GENERAL or form.products_for(kernel) == fewest < kernel[0] * kernel[1]


GENERAL = tuple(form for form in FORMS if form.down.taps == form.right.taps == 3)
"""The forms that are for all kernels, in pieces."""


@cache
def form_simd(simd: Simd, form: Form) -> FormSimd:
    """Return the compile-time constant for vectors and a form."""
    return FormSimd(simd.instructions, simd.dtype, form)


def plans_of(form: Form) -> tuple[type[WinogradConvolution], type[WinogradWeightGradient]]:
    """Return the two kinds of plan of a form."""
    return (
        type(f"WinogradConvolution{form}", (WinogradConvolution,), {"form": form}),
        type(f"WinogradWeightGradient{form}", (WinogradWeightGradient,), {"form": form}),
    )


PLANS = {str(form): plans_of(form) for form in FORMS}
"""The two kinds of plan of each form, by its name."""


def limits(name: str) -> str:
    """Return a description of the problems that a form can do."""
    general = name in map(str, GENERAL)
    return "kernels without stride" + ("" if general else " that need more products by all other forms")
