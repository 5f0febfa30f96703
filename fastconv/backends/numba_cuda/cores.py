"""How a block of threads shares the work of one product of tiles, and which sums each thread keeps in registers.

A step multiplies A (depth x rows) by B (depth x columns), both in shared memory with the depth outermost, and adds to
rows x columns sums. Every element of A and B that a thread loads is used for a whole row or column of its sums: with
8 x 8 sums 16 loads feed 64 multiply-adds. The scheme is that of Volkov and Demmel, "Benchmarking GPUs to tune dense
linear algebra" (2008), in the form of NVIDIA's CUTLASS (Kerr et al., 2017).
"""

from __future__ import annotations

from dataclasses import dataclass


def covering(count: int, size: int) -> int:
    """Returns how many pieces of ``size`` cover ``count``."""
    return -(-count // size)


_REGISTERS = 65536
"""Registers of a multiprocessor, since compute capability 3.7."""


def _resident(threads: int) -> int:
    """Returns the number of blocks that leaves 128 registers to a thread, of which 64 are sums."""
    return _REGISTERS // (128 * threads)


@dataclass(frozen=True)
class RegisterTile:
    """Each thread keeps ``thread_rows`` x ``thread_columns`` sums, in groups of one vector of 16 bytes.

    Thread t of the block has the row groups from ``vector * (t // across)`` on, ``row_spacing`` apart, and column
    groups likewise with t % across: neighbouring threads load neighbouring vectors, without bank conflicts.
    """

    rows: int
    columns: int
    depth: int
    thread_rows: int
    thread_columns: int
    vector: int = 4

    @property
    def across(self) -> int:
        """Returns the number of threads along the columns."""
        return self.columns // self.thread_columns

    @property
    def threads(self) -> int:
        return self.across * (self.rows // self.thread_rows)

    @property
    def resident(self) -> int:
        """Returns the number of blocks that a multiprocessor should have room for."""
        return _resident(self.threads)

    @property
    def sums(self) -> int:
        """Returns the number of sums of one thread; they lie row-major."""
        return self.thread_rows * self.thread_columns

    @property
    def row_groups(self) -> int:
        return self.thread_rows // self.vector

    @property
    def column_groups(self) -> int:
        return self.thread_columns // self.vector

    @property
    def row_spacing(self) -> int:
        return self.rows // self.row_groups

    @property
    def column_spacing(self) -> int:
        return self.columns // self.column_groups

    @property
    def pitches(self) -> tuple[int, int]:
        """Returns the elements from one depth to the next, in A and in B."""
        return self.rows + self.vector, self.columns + self.vector

    @property
    def passes(self) -> int:
        """Returns the number of parts in which the sums are put down: one of each thread's rows at a time."""
        return self.thread_rows

    @property
    def pass_rows(self) -> int:
        """Returns the number of the tile's rows that one pass puts down."""
        return self.rows // self.thread_rows

    @property
    def pass_sums(self) -> int:
        return self.thread_columns


@dataclass(frozen=True)
class MatrixTile:
    """Each warp keeps fragments of 16 x 8 sums for the matrix units, ``row_fragments`` x ``column_fragments`` of them.

    The pitches are 8 more than a multiple of 32 words, so the 32 lanes' loads of a fragment fall on 32 banks.
    """

    rows: int
    columns: int
    depth: int
    row_fragments: int
    column_fragments: int

    @property
    def warps_across(self) -> int:
        return self.columns // (8 * self.column_fragments)

    @property
    def threads(self) -> int:
        return 32 * self.warps_across * (self.rows // (16 * self.row_fragments))

    @property
    def resident(self) -> int:
        """Returns the number of blocks that a multiprocessor should have room for."""
        return _resident(self.threads)

    @property
    def sums(self) -> int:
        return 4 * self.row_fragments * self.column_fragments

    @property
    def pitches(self) -> tuple[int, int]:
        return self.rows + 8, self.columns + 8

    @property
    def passes(self) -> int:
        """Returns the number of parts in which sums are put down: one of each warp's rows of fragments at a time."""
        return self.row_fragments

    @property
    def pass_rows(self) -> int:
        return self.rows // self.row_fragments

    @property
    def pass_sums(self) -> int:
        return 4 * self.column_fragments
