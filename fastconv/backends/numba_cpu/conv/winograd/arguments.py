"""These are the arguments of Winograd's convolution and of its weight gradient, and the constant that they compile for.

`FormSimd` tells their tasks at compile time which form they compute: a `Simd` with a form of minimal filtering.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastconv.backends.numba_cpu.conv.winograd.forms.form import Form
from fastconv.backends.numba_cpu.gemm.arguments import ConvArguments
from fastconv.backends.numba_cpu.simd import Simd


class WinogradArguments(ConvArguments):
    """These arguments add the first patch's place and the kernel's size to those of all algorithms."""

    first_y: int
    """Source row that the first tap reads for lattice row 0, in steps."""
    first_x: int
    """Source column that the first tap reads for lattice column 0, in steps."""
    tap_rows: int
    tap_columns: int
    patches: int
    """Address of the transformed patches, if these are transformed first."""
    weight_step: int
    """Distance between the transformed weights of one product and the next, in elements."""


@dataclass(frozen=True)
class FormSimd(Simd):
    """This compile-time constant describes vectors and a form of minimal filtering."""

    in_kernels: ClassVar[tuple[str, ...]] = (
        *Simd.in_kernels,
        "products",
        "down",
        "right",
        "tap_rows",
        "tap_columns",
        "taps",
        "span_words",
        "chunk_words",
        "scratch_words",
        "zero_vectors",
    )

    form: Form

    def __hash__(self) -> int:
        return hash((self.dtype, self.form.name))

    @property
    def products(self) -> int:
        """Return the number of products for a patch and a channel."""
        return self.form.products

    @property
    def down(self) -> int:
        """Return the rows of a tile of results: patches are this far apart in a column of pixels."""
        return self.form.down.output

    @property
    def right(self) -> int:
        """Return the columns of a tile of results: patches are this far apart in a row of pixels."""
        return self.form.right.output

    @property
    def tap_rows(self) -> int:
        """Return the rows of a piece of a kernel."""
        return self.form.down.taps

    @property
    def tap_columns(self) -> int:
        """Return the columns of a piece of a kernel."""
        return self.form.right.taps

    @property
    def taps(self) -> int:
        """Return the number of taps of a piece of a kernel."""
        return self.tap_rows * self.tap_columns

    @property
    def span_words(self) -> int:
        """Return the count of integers that describe a span of a chunk; see patches.py for what they are."""
        return 2 * (self.form.down.size + self.right + 1) + self.tap_columns

    @property
    def chunk_words(self) -> int:
        """Return the largest count of integers that describe a chunk: a lane may be a span."""
        return 2 + self.lanes * self.span_words

    @property
    def scratch_words(self) -> int:
        """Return the count of integers as large as a patch of vectors."""
        return self.form.down.size * self.form.right.size * self.instructions.vector_bytes // 8

    @property
    def zero_vectors(self) -> int:
        """Return the vectors of zeros that a row of pixels outside the image is read from."""
        return self.right + -(-max(1, self.tap_columns - 1) // self.lanes)
