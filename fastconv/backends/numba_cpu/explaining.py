"""`explain` describes the planner's choice for a convolution: each job's candidates and their predicted times."""

from __future__ import annotations

from fastconv.backends.explanation import Explanation
from fastconv.backends.numba_cpu import planner
from fastconv.backends.numba_cpu.conv.tap_parts.tiling import part_cycles, part_tasks, part_tilings
from fastconv.backends.numba_cpu.lowering import Job, is_dense
from fastconv.backends.numba_cpu.routes import chosen_jobs
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry


def explain(simd: Simd, operation: str, g: ConvGeometry, algorithm: str | None, threads: int) -> Explanation:
    """Return the jobs of a forward pass, input or weight gradient, and the predicted time of each candidate."""
    lines = []
    chosen, total = [], 0.0
    found, _ = chosen_jobs(simd, operation, g, algorithm)
    for number, job in enumerate(found, 1):
        problem, weight = job.problem, job.along_rows
        if len(found) > 1:
            rows, columns = problem.lattice
            lines.append(f"  lattice {number} of {len(found)}: {rows} x {columns} pixels, {len(problem.taps)} taps")
        if job.exchanged or is_dense(g):
            lines.append("  one output pixel: a product of matrices")
        if job.columns is not None:
            lines.append("  a product that makes the column matrix, which is then added up")
        if job.parts:
            time, described = _explain_parts(simd, job, threads)
            lines += described
            chosen.append("gemm")
            total += time
            continue
        best = planner.choose(simd, problem, algorithm, weight=weight)
        for candidate in planner.candidates(simd, problem, weight=weight):
            time = planner.seconds(simd, candidate, threads)
            mark = "*" if candidate == best else " "
            lines.append(f"  {mark} {candidate.algorithm:13} {1e3 * time:8.3f} ms  {planner.describe(candidate)}")
            if candidate == best:
                chosen.append(candidate.algorithm)
                total += time
    names = " and ".join(dict.fromkeys(chosen)) or "nothing to compute"
    peak = 2 * simd.lanes * planner.vectors_a_second(simd)
    itemsize = simd.itemsize
    head = (
        f"{operation}, {simd.dtype}, {simd.instructions.name}: {names}, {1e3 * total:.3f} ms predicted "
        f"on {threads} threads",
        f"  {g.flops / 1e9:.3g} GFLOP, {1e3 * g.flops / peak / threads:.3f} ms at the micro-kernel's "
        f"{peak / 1e9:.0f} GFLOP/s a thread; {g.bytes(itemsize) / 1e6:.3g} MB to move at least",
    )
    return Explanation(names, total, "\n".join([*head, *lines]))


def _explain_parts(simd: Simd, job: Job, threads: int) -> tuple[float, list[str]]:
    """Return the predicted time on ``threads`` threads, in seconds, and lines that describe the parts."""
    cuts = part_tilings(simd, job)
    time = planner.seconds_of(simd, part_cycles(simd, job), part_tasks(job, cuts), threads)
    lines = [
        f"  * {'gemm':13} {1e3 * time:8.3f} ms  in {len(cuts)} parts, "
        "each without the taps that meet only padding there"
    ]
    for part, cut in zip(job.parts, cuts, strict=True):
        rows, columns = part.problem.lattice
        lines.append(f"      {rows} x {columns} pixels, {len(part.problem.taps)} taps: {cut}")
    return time, lines
