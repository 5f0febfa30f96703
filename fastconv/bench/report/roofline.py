"""The roofline plot: what each contestant reaches on each problem, under what the machine allows.

After Williams, Waterman and Patterson, "Roofline", CACM 2009. A problem's intensity is its arithmetic over its bytes,
so it has a vertical of its own; the bar on it is its limit, the markers are the contestants. Verticals that would
coincide stand side by side instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import atan2, degrees, log

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from fastconv.bench.report.canvas import marker, panel, sheet
from fastconv.bench.report.columns import names, panels, spread
from fastconv.bench.report.header import size
from fastconv.bench.report.palette import Look
from fastconv.bench.report.races import Race, stage_title
from fastconv.bench.results import Limit, Record
from fastconv.models.inspection.style import GRID, INK, PALE

_PANEL, _MARGIN = (5.6, 3.4), (0.75, 0.95)
"""Inches that a panel's axes take, and what stands around them."""

_LETTER = 0.053
"""Inches that a letter of a problem's name takes; names stand upright at the foot of a panel."""

_GAP = 0.034
"""Between two problems, in parts of the panel's width."""

_DEEPEST = 1 / 16
"""The part of its limit below which a contestant is drawn at the foot, so that the others have room."""


def roofline(races: list[Race], limit: Limit, looks: dict[str, Look], footnote: str) -> Figure:
    """A panel for every family of one stage's problems, each with scales of its own."""
    table = panels(races)
    columns = min(2, len(table))
    rows = -(-len(table) // columns)
    bar = Line2D([], [], color=INK, marker="_", markersize=11, markeredgewidth=2.2, linestyle="none")
    bar.set_label("limit of the problem")
    handles = [*(marker(name, look) for name, look in looks.items()), bar]
    handles.append(Line2D([], [], color=PALE, linewidth=1, label="bandwidth"))
    what = "comparisons and additions" if races[0].stage[0] else "arithmetic"
    title = f"{stage_title(races[0].stage)}: {what} a second, under the machine's limits"
    wide, high = _PANEL[0] + _MARGIN[0], _PANEL[1] + _MARGIN[1]
    note = f"{footnote} · markers on the dotted line lie below it"
    figure, top = sheet(max(columns * wide + 0.2, 9), rows * high, title, note, handles)
    for index, (family, found) in enumerate(table.items()):
        row, column = divmod(index, columns)
        axes = panel(figure, column * wide + 0.6, top + row * high + 0.35, *_PANEL)
        lowest = _lowest(found)
        _scales(axes, found, limit, lowest)
        _roofs(axes, limit)
        _problems(axes, sorted(found, key=_intensity), looks, lowest)
        axes.set_title(family)
    return figure


def _intensity(race: Race) -> float:
    record = next(iter(race.runners.values()))
    return record.flops / record.bytes


def _reached(record: Record) -> float:
    return record.flops / record.best / 1e9


def _allowed(race: Race) -> float:
    return next(iter(race.runners.values())).flops / race.floor / 1e9


def _lowest(races: Sequence[Race]) -> float:
    """What the slowest contestant reaches, those far below their limits aside; GFLOP/s."""
    reached = [max(_reached(record), _allowed(race) * _DEEPEST) for race in races for record in race.runners.values()]
    return min(reached)


def _scales(axes: Axes, races: Sequence[Race], limit: Limit, lowest: float) -> None:
    """Both logarithmic; a decade or more across, and upwards with room for names at the foot."""
    across = [_intensity(race) for race in races]
    reached = [_reached(record) for race in races for record in race.runners.values()]
    low, high = lowest / 1.25, max(limit.flops / 1e9, *reached) * 1.5
    axes.set(xscale="log", yscale="log", xlabel="arithmetic intensity, FLOP/byte", ylabel="GFLOP/s")
    wide = max(1.0, (10 / (max(across) / min(across))) ** 0.5)
    axes.set_xlim(min(across) / wide / 2.5, max(across) * wide * 1.3)
    foot = (_LETTER * max(map(len, names(races))) + 0.15) / _PANEL[1]
    axes.set_ylim(low / (high / low) ** (foot / (1 - foot)), high)
    axes.axhline(lowest, color=PALE, linewidth=0.8, linestyle=":")
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=30))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    axes.set_yticks([tick for tick in axes.get_yticks() if lowest / 1.3 <= tick <= high])


def _roofs(axes: Axes, limit: Limit) -> None:
    """The peak, and a slope for each measured bandwidth; the steepest and main memory's are named."""
    left, right = axes.get_xlim()
    peak = limit.flops / 1e9
    axes.axhline(peak, color=INK, linewidth=1.4)
    axes.text(right, peak * 1.04, f"peak {peak:.0f} GFLOP/s ", ha="right", va="bottom", fontsize=8)
    slopes = sorted(limit.bandwidth.items())
    named = {max(slopes, key=lambda slope: slope[1]), slopes[-1]}
    low, high = axes.get_ylim()
    angle = degrees(atan2(_PANEL[1] / log(high / low), _PANEL[0] / log(right / left)))
    for footprint, rate in slopes:
        ridge = min(limit.flops / rate, right)
        if ridge <= left:
            continue
        axes.plot([left, ridge], [left * rate / 1e9, ridge * rate / 1e9], color=PALE, linewidth=1, zorder=1)
        if (footprint, rate) in named and ridge > 3 * left:
            text = axes.text(left * 1.02, left * rate / 1e9 * 1.04, f"{rate / 1e9:.0f} GB/s at {size(footprint)}")
            text.set(rotation=angle, rotation_mode="anchor", va="bottom", fontsize=7, clip_on=True)


def _problems(axes: Axes, races: Sequence[Race], looks: dict[str, Look], lowest: float) -> None:
    """Each race on its vertical: its limit, everyone below, and its name at the foot."""
    left, right = axes.get_xlim()
    wanted = [log(_intensity(race) / left) / log(right / left) for race in races]
    across = [left * (right / left) ** spot for spot in spread(wanted, _GAP, 0.02, 0.98)]
    allowed = [_allowed(race) for race in races]
    axes.vlines(across, lowest, allowed, color=GRID, linewidth=1, zorder=1.2)
    axes.plot(across, allowed, linestyle="none", marker="_", markersize=11, markeredgewidth=2.2, color=INK, zorder=2)
    for name, look in looks.items():
        runs = [(x, race.runners[name]) for x, race in zip(across, races, strict=True) if name in race.runners]
        reached = [max(_reached(record), lowest) for _, record in runs]
        points = axes.plot([x for x, _ in runs], reached, linestyle="none", marker=look.marker, markersize=5.5)[0]
        points.set(markerfacecolor=look.face, markeredgecolor=look.colour, alpha=0.9, zorder=3)
    for x, name in zip(across, names(races), strict=True):
        label = axes.annotate(name, (x, lowest), (0, -6), textcoords="offset points", rotation=90, fontsize=7)
        label.set(ha="center", va="top")
