"""The pictures: bars of all rungs, the roofline, and the shapes of tiles, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from fastconv.ladder.command.measuring import Limits, Row
from fastconv.ladder.command.results import Results

BLUE, ORANGE, INK, PALE, GRID = "#0072B2", "#D55E00", "#1f2328", "#6e7781", "#d8dee4"
"""Okabe and Ito's colours, which colour-blind readers tell apart, and greys."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "svg.hashsalt": "fastconv",  # the same picture gives the same file
}


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes a picture as PNG and as SVG, without dates, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with rc_context(STYLE):
        figure.savefig(paths[0], dpi=120, metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def draw(results: Results, folder: Path) -> list[Path]:
    """Draws all that a run's results have, and returns the files."""
    rows, limits = results.rows, results.limits
    drawn = {"bars": bars(rows, limits), "roofline": roofline(rows, limits)} if any(r.seconds for r in rows) else {}
    if results.tiles:
        drawn["tiles"] = tiles(results.tiles, limits.peaks[1])
    return [path for name, figure in drawn.items() for path in save(figure, folder, f"ladder-{name}")]


def _plain_numbers(axis: Axis) -> None:
    """Let an axis say 100, not a power of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def bars(rows: Sequence[Row], limits: Limits) -> Figure:
    """Returns the rungs as bars of GFLOP/s on a logarithmic axis, with the peaks of their threads."""
    with rc_context(STYLE):
        shown = [row for row in rows if row.seconds]
        figure = Figure(figsize=(8, 0.9 + 0.3 * len(shown)), layout="constrained")
        axes = figure.subplots()
        rates = [row.rate / 1e9 for row in shown]
        left = min(rates) / 2
        colours = [ORANGE if row.threads > 1 else BLUE for row in shown]
        axes.barh(range(len(shown)), [rate - left for rate in rates], left=left, color=colours, height=0.65)
        for place, rate in enumerate(rates):
            label = axes.text(rate * 1.08, place, f"{rate:.3g}", va="center", fontsize=8)
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
        axes.set(xscale="log", xlim=(left, max(rates) * 6), xlabel="GFLOP/s, by the definition's arithmetic")
        _plain_numbers(axes.xaxis)
        axes.set_yticks(range(len(shown)), [f"{row.number}  {row.idea}" for row in shown])
        axes.set_ylim(len(shown) - 0.4, -0.8)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        for count, peak in limits.peaks.items():
            axes.axvline(peak / 1e9, color=INK, linewidth=1, linestyle="-" if count == 1 else "--")
        words = ", ".join(
            f"{peak / 1e9:.0f} GFLOP/s on {count} thread{'s' * (count > 1)}" for count, peak in limits.peaks.items()
        )
        figure.suptitle(f"The ladder; lines: the peak, {words}", x=0.01, ha="left", fontweight="bold")
        return figure


def roofline(rows: Sequence[Row], limits: Limits) -> Figure:
    """Returns the rungs under the roofline of one thread: GFLOP/s against flops a byte."""
    with rc_context(STYLE):
        shown = [row for row in rows if row.seconds and row.threads == 1]
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        peak, slope = limits.peaks[1] / 1e9, limits.bandwidth / 1e9
        across = [row.flops / row.bytes for row in shown]
        left, right = min(0.5, *across) / 1.5, max(2 * peak / slope, *across) * 100
        corner = peak / slope
        axes.plot([left, corner, right], [left * slope, peak, peak], color=INK, linewidth=1.4)
        axes.text(left * 1.1, left * slope * 1.5, f"{slope:.0f} GB/s, main memory", fontsize=8, rotation=32)
        axes.text(corner * 1.05, peak * 1.15, f"peak {peak:.0f} GFLOP/s", fontsize=8)
        last = 0.0
        for x, row in sorted(zip(across, shown, strict=True), key=lambda point: point[1].rate):
            rate = row.rate / 1e9
            last = max(rate, last * 1.4)  # names of rungs that are as fast as one another stand one above another
            axes.plot(x, rate, marker="o", markersize=5, color=BLUE, linestyle="none")
            axes.annotate(
                f"{row.number}  {row.idea}",
                (x, rate),
                (x * 1.6, last),
                va="center",
                fontsize=7,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
                arrowprops={"arrowstyle": "-", "color": PALE, "linewidth": 0.5, "relpos": (0, 0.5)},
            )
        axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(min(row.rate for row in shown) / 2e9, peak * 10))
        _plain_numbers(axes.xaxis)
        _plain_numbers(axes.yaxis)
        axes.set(xlabel="flops a byte, each number moved once", ylabel="GFLOP/s")
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_title("What memory and arithmetic allow one thread, and what the rungs reach")
        return figure


def tiles(rates: dict[tuple[int, int], float], peak: float) -> Figure:
    """Returns rung 06's shares of the peak by filters and pixels of the tile."""
    with rc_context(STYLE):
        rows, widths = sorted({rows for rows, _ in rates}), sorted({width for _, width in rates})
        figure = Figure(figsize=(1.6 + 0.9 * len(widths), 1.2 + 0.4 * len(rows)), layout="constrained")
        axes = figure.subplots()
        shares = [[rates.get((high, wide), 0) / peak for wide in widths] for high in rows]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
        for i, line in enumerate(shares):
            for j, share in enumerate(line):
                if share:
                    axes.text(j, i, f"{share:.0%}", ha="center", va="center", color="white" if share > 0.55 else INK)
        axes.set_xticks(range(len(widths)), list(map(str, widths)))
        axes.set_yticks(range(len(rows)), list(map(str, rows)))
        axes.set(xlabel="pixels", ylabel="filters")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.suptitle("Tiles of sums: share of the peak", x=0.01, ha="left", fontweight="bold")
        return figure
