"""The vectors that snapshots are made for: every instruction set, and numbers of another size on one."""

from __future__ import annotations

from fastconv.backends.numba_cpu.simd import Simd, instruction_set

SIMDS = [*(Simd(row, "float32") for row in instruction_set.ALL.values()), Simd(instruction_set.AVX512, "float64")]
