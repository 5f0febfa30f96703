"""`explain` describes the planner's choice for a convolution: the candidates of each job, and what was left out."""

from __future__ import annotations

from fastconv.backends.explanation import Explanation
from fastconv.backends.numba_cpu import planner
from fastconv.backends.numba_cpu.algorithms import ALGORITHMS
from fastconv.backends.numba_cpu.conv.tap_parts.tiling import part_cycles, part_tasks, part_tilings
from fastconv.backends.numba_cpu.lowering import Job, is_dense
from fastconv.backends.numba_cpu.routes import chosen_jobs
from fastconv.backends.numba_cpu.simd import Simd
from fastconv.geometry import ConvGeometry


def explain(simd: Simd, operation: str, g: ConvGeometry, algorithm: str | None, threads: int) -> Explanation:
    """Return the jobs of a forward pass, input or weight gradient, and the predicted time of each candidate."""
    lines: list[str] = []
    chosen, total = [], 0.0
    left_out: dict[str, None] = {}
    found = [] if 0 in (*g.input_shape, *g.output_shape) else chosen_jobs(simd, operation, g, algorithm)[0]
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
        candidates = planner.candidates(simd, problem, weight=weight)
        left_out |= dict.fromkeys(ALGORITHMS.keys() - {candidate.algorithm for candidate in candidates})
        for candidate in candidates:
            time = planner.seconds(simd, candidate, threads)
            mark = "*" if candidate == best else " "
            lines.append(f"  {mark} {candidate.algorithm:17} {1e3 * time:8.3f} ms  {planner.describe(candidate)}")
            if candidate == best:
                chosen.append(candidate.algorithm)
                total += time
    names = " and ".join(dict.fromkeys(chosen)) or "nothing to compute"
    peak = 2 * simd.lanes * planner.vectors_a_second(simd)
    at_peak = g.flops / peak / threads
    head = [
        f"{operation}, {simd.dtype}, {simd.instructions.name}: {names}, {1e3 * total:.3f} ms predicted "
        f"on {threads} threads",
        f"  {g.flops / 1e9:.3g} GFLOP take {1e3 * at_peak:.3f} ms at the peak, {peak / 1e9:.0f} GFLOP/s a thread; "
        f"{g.bytes(simd.itemsize) / 1e6:.3g} MB to move at least",
    ]
    if total:
        fewer = ", since it multiplies less than the definition" if at_peak > total else ""
        head.append(f"  predicted: {at_peak / total:.0%} of the peak{fewer}")
        head.append("  candidates, by their work on one thread, with the time of all threads:")
    return Explanation(names, total, "\n".join([*head, *lines, *_left_out(left_out)]), at_peak)


def _left_out(names: dict[str, None]) -> list[str]:
    """Return a line for each limit that keeps algorithms from doing a job, in the order of `ALGORITHMS`."""
    by_limit: dict[str, list[str]] = {}
    for name, row in ALGORITHMS.items():
        if name in names:
            by_limit.setdefault(row.limits, []).append(name)
    return [f"  - {_few(found)} left out: only for {limit}" for limit, found in by_limit.items()]


def _few(names: list[str]) -> str:
    further = f" and {len(names) - 1} further form{'s' if len(names) > 2 else ''}" if len(names) > 1 else ""
    return names[0] + further


def _explain_parts(simd: Simd, job: Job, threads: int) -> tuple[float, list[str]]:
    """Return the predicted time on ``threads`` threads, in seconds, and lines that describe the parts."""
    cuts = part_tilings(simd, job)
    time = planner.seconds_of(simd, part_cycles(simd, job), part_tasks(job, cuts), threads)
    lines = [
        f"  * {'gemm':17} {1e3 * time:8.3f} ms  in {len(cuts)} parts, "
        "each without the taps that meet only padding there"
    ]
    for part, cut in zip(job.parts, cuts, strict=True):
        rows, columns = part.problem.lattice
        lines.append(f"      {rows} x {columns} pixels, {len(part.problem.taps)} taps: {cut}")
    return time, lines
