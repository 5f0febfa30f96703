"""The measured figures of docs/cpu.md are made here: the table, each rung's line and loop, the shapes of tiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fastconv.bench.report.cells import Cell
from fastconv.bench.report.grid import Column, Grid, to_markdown
from fastconv.bench.report.markers import rewrite
from fastconv.ladder.command import table
from fastconv.ladder.command.assembly import Code
from fastconv.ladder.command.measuring import DEPTHWISE, Row
from fastconv.ladder.command.results import Results

LINES = 20
"""Most instructions of a loop that the page shows."""


def merged(runs: list[Results]) -> Results:
    """Returns one result of several runs: of each rung, peak and tile the fastest, all else of the last run."""
    last = runs[-1]
    rows = [min(found, key=lambda row: row.seconds or 0) for found in zip(*(run.rows for run in runs), strict=True)]
    peaks = {count: max(run.limits.peaks[count] for run in runs) for count in last.limits.peaks}
    limits = type(last.limits)(peaks, max(run.limits.bandwidth for run in runs))
    tiles = {shape: max(run.tiles.get(shape, 0.0) for run in runs) for shape in last.tiles}
    return Results(last.layer, last.machine, limits, rows, tiles, last.code)


def rewrite_page(results: Results, path: Path) -> None:
    """Make the blocks between the markers of ``path`` from ``results``.

    Raises:
        MarkerError: no markers, an unknown name, or an opening marker without its closing one or the reverse.
    """
    blocks: dict[str, Callable[[], str]] = {"ladder": partial(whole, results), "ladder-tiles": partial(tiles, results)}
    blocks |= {f"rung-{row.number}": partial(rung, results, row) for row in results.rows}
    rewrite(path, blocks)


def whole(results: Results) -> str:
    """Returns the machine in a sentence, and a table with a row for each rung."""
    columns = [Column("rung"), Column("idea", number=False)]
    columns += [Column(name) for name in ("ms", "GFLOP/s", "share of the peak", "times as fast")]
    grid = [[Cell(cell) for cell in (row.number, row.idea, *_figures(results, row))] for row in results.rows]
    facts = results.machine
    peaks = " and ".join(f"{peak / 1e9:.0f} GFLOP/s on {n}" for n, peak in results.limits.peaks.items())
    said = f"{facts['processor']} · {facts['instruction set']} · {facts['date']} · peak {peaks} threads · main memory "
    said += f"{results.limits.bandwidth / 1e9:.0f} GB/s · layer `{results.layer}`"
    return f"{said}\n\n{to_markdown(Grid(columns, grid))}"


def rung(results: Results, row: Row) -> str:
    """Returns what one rung reaches, and its innermost loop if the results have it."""
    ms, rate, share, times = _figures(results, row)
    figures = [f"{rate} GFLOP/s, {share} of the peak"] + ([f"{times.replace(' of ', ' times rung ')}"] if times else [])
    lines = [f"*Measured: {'; '.join(figures)} ({ms} ms).*"]
    if row.number == DEPTHWISE and row.seconds:
        allowed = min(results.limits.peaks[1], row.flops / row.bytes * results.limits.bandwidth)
        lines += [f"*Main memory allows {allowed / 1e9:.0f} GFLOP/s at {row.flops / row.bytes:.3g} flops a byte.*"]
    if row.note:
        lines += [f"*{row.note[0].upper()}{row.note[1:]}.*"]
    lines += [loop(code) for code in results.code if code.number == row.number]
    return "\n\n".join(lines)


def loop(code: Code) -> str:
    """Returns the instructions of a rung's innermost loop: counted, and the first of them as they are."""
    kinds = Counter(line.split(maxsplit=1)[0] for line in code.loop)
    counted = ", ".join(f"{count} `{kind}`" for kind, count in kinds.most_common(4))
    shown = code.loop[:LINES] + ([f"... and {len(code.loop) - LINES} more"] if len(code.loop) > LINES else [])
    lines = "\n".join(shown)
    return f"Its innermost loop has {len(code.loop)} instructions, of them {counted}:\n\n```asm\n{lines}\n```"


def tiles(results: Results) -> str:
    """Returns a table of rung 06's shares of the peak by filters and pixels of its tile."""
    widths = sorted({width for _, width in results.tiles})
    columns = [Column("filters"), *(Column(f"{width} pixels") for width in widths)]
    rows = []
    for high in sorted({rows for rows, _ in results.tiles}):
        rates = [results.tiles.get((high, width)) for width in widths]
        shares = ["" if rate is None else f"{rate / results.limits.peaks[1]:.0%}" for rate in rates]
        rows.append([Cell(cell) for cell in (str(high), *shares)])
    return to_markdown(Grid(columns, rows))


def _figures(results: Results, row: Row) -> tuple[str, str, str, str]:
    """Returns milliseconds, GFLOP/s, share of the peak and times as fast as texts."""
    if row.seconds is None:
        return "", row.refusal or "", "", ""
    share = row.rate / results.limits.peaks[row.threads]
    rates = {other.number: other.rate for other in results.rows}
    percent = f"{share:.0%}" if share >= 0.1 else f"{share:.1%}" if share >= 0.001 else f"{share:.4%}"
    ms = row.seconds * 1e3
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}", f"{row.rate / 1e9:.3g}", percent, table.times(row, rates)
