"""These are the arguments of Winograd's convolution and of its weight gradient, and the constant that they compile for.

`FormSimd` tells their tasks at compile time which form they compute: a `Simd` with a form of minimal filtering.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.backends.numba_cpu.conv.winograd.forms.form import Form
from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments
from fastconv.backends.numba_cpu.simd import Simd, SimdType
from fastconv.backends.numba_cpu.simd.compile_time import register_constant


class WinogradArguments(ConvArguments):
    """These arguments add the first patch's place and the kernel's size to those of all algorithms."""

    first_y: int
    """Source row that the first tap reads for lattice row 0, in steps."""
    first_x: int
    """Source column that the first tap reads for lattice column 0, in steps."""
    tap_rows: int
    tap_columns: int
    weight_step: int
    """Distance between the transformed weights of one product and the next, in elements."""


@dataclass(frozen=True)
class FormSimd(Simd):
    """This compile-time constant describes vectors and a form of minimal filtering."""

    form: Form

    def __hash__(self) -> int:
        return hash((self.dtype, self.form.output, self.form.taps))

    @property
    def products(self) -> int:
        """Return the number of products for a patch and a channel."""
        return self.form.products

    @property
    def side(self) -> int:
        """Return the side of a tile of results, in pixels: patches are this far apart."""
        return self.form.output

    @property
    def taps(self) -> int:
        """Return the side of a piece of a kernel."""
        return self.form.taps

    @property
    def span_words(self) -> int:
        """Return the count of integers that describe a span of a chunk; see patches.py for what they are."""
        return 2 * (self.form.size + self.form.output + 1) + self.form.taps

    @property
    def chunk_words(self) -> int:
        """Return the largest count of integers that describe a chunk: a lane may be a span."""
        return 2 + self.lanes * self.span_words

    @property
    def scratch_words(self) -> int:
        """Return the count of integers as large as a patch of vectors."""
        return self.form.size**2 * self.instructions.vector_bytes // 8


class FormSimdType(SimdType):
    """This is Numba's type of a `FormSimd`, which is a compile-time constant."""

    def __init__(self, simd: FormSimd) -> None:
        super().__init__(simd)
        self.form = simd.form
        self.name = f"FormSimd({simd.instructions.name}, {simd.dtype}, {simd.form}, {simd.form.points})"


register_constant(FormSimd, FormSimdType, ("products", "side", "taps", "span_words", "chunk_words", "scratch_words"))
