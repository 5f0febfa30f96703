"""What all pictures share: the sheet, its panels, the scale of speeds over torch's, and the files they are saved as."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from fastconv.bench.report.palette import Look
from fastconv.models.inspection.style import GRID, INK, PALE

SLOWEST, FASTEST = 1 / 8, 16
"""The ends of the scale of speeds over torch's; what lies beyond is drawn at the end."""


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write NAME.png and NAME.svg, without the date, so that the same results give the same bytes."""
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    figure.savefig(paths[0], dpi=120, metadata={"Software": None})
    figure.savefig(paths[1], metadata={"Date": None})
    return paths


def marker(label: str, look: Look, size: float = 6) -> Line2D:
    """A contestant's marker, for a legend."""
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=look.marker,
        markersize=size,
        markerfacecolor=look.face,
        markeredgecolor=look.colour,
        label=label,
    )


def sheet(
    width: float, height: float, title: str, footnote: str, handles: Sequence[Artist] = ()
) -> tuple[Figure, float]:
    """A figure with a title and a legend above its body and a footnote below, and where the body begins.

    All sizes are in inches; the beginning is counted from the top.
    """
    columns = max(1, int(width / 2.2))
    header = 0.5 + 0.22 * -(-len(handles) // columns)
    footnote = textwrap.fill(footnote, int(width * 15))
    footer = 0.2 + 0.14 * (footnote.count("\n") + 1)
    whole = header + height + footer
    figure = Figure(figsize=(width, whole))
    figure.text(0.1 / width, 1 - 0.12 / whole, title, va="top", fontsize=13, fontweight="bold")
    figure.text(0.1 / width, 0.12 / whole, footnote, va="bottom", fontsize=8, color=PALE)
    if handles:
        corner = (0.05 / width, 1 - 0.42 / whole)
        figure.legend(
            handles=handles, loc="upper left", bbox_to_anchor=corner, ncols=columns, frameon=False, borderaxespad=0
        )
    return figure, header


def panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the figure's upper left corner."""
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))


def speed_scale(axes: Axes, ratios: Iterable[float]) -> tuple[float, float]:
    """Make the x axis one of speeds over torch's: doublings, and a line where torch is. Gives the ends shown."""
    values = [*ratios, 0.8, 2.0]
    low, high = max(min(values) / 1.15, SLOWEST), min(max(values) * 1.1, FASTEST)
    axes.set_xscale("log", base=2)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator([2.0**power for power in range(-4, 5)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}"))
    axes.grid(color=GRID, linewidth=0.7)
    axes.axvline(1, color=INK, linewidth=1.4, zorder=1.5)
    return low, high
