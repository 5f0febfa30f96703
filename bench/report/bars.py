"""Bar charts of speed over torch's: by contestant for every stage, and by problem for one stage.

Bars begin at torch's line. One that goes right is a win and solid, one that goes left a loss and hatched.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.canvas import frame, marker, speed_scale
from bench.report.cells import MARKS, digits
from bench.report.palette import Look
from bench.report.races import Race, by_family, by_stage, contestants, geometric_mean, stage_title, verdict
from bench.results import REFERENCE

_ROW = 0.25
"""Inches a bar takes."""


def overview(races: list[Race], looks: dict[str, Look], footnote: str) -> Figure:
    """A panel for every stage, a bar for every contestant: the geometric mean over all problems."""
    stages = by_stage(races)
    names = [name for name in contestants(races) if name != REFERENCE]
    rows = (len(stages) + 1) // 2
    figure = Figure(figsize=(11, 1.4 + rows * (0.5 + _ROW * len(names))), layout="constrained")
    grid = figure.subplots(rows, 2 if len(stages) > 1 else 1, squeeze=False, sharex=True).ravel()
    means = {
        stage: {name: [r for race in found if (r := _speed(race, name)) is not None] for name in names}
        for stage, found in stages.items()
    }
    shown = [geometric_mean(values) for table in means.values() for values in table.values() if values]
    for axes, stage in zip(grid, stages, strict=False):
        ends = speed_scale(axes, shown)
        for place, name in enumerate(names):
            values = means[stage][name]
            mean = geometric_mean(values) if values else None
            part = "" if len(values) == len(stages[stage]) else f"({len(values)} of {len(stages[stage])})"
            _bar(axes, place, mean, looks[name], ends, part if values else "not run")
        _rows(axes, names, stage_title(stage))
    for axes in grid[len(stages) :]:
        axes.set_visible(False)
    for axes in grid[: len(stages)][-2:]:
        axes.set_xlabel("speed over torch's, geometric mean of all problems")
        axes.tick_params(labelbottom=True)
    frame(
        figure,
        "How fast is each contestant, compared with torch? (1: as fast; 2: twice as fast; bars are cut at 1/8)",
        footnote,
    )
    return figure


def by_problem(races: list[Race], looks: dict[str, Look], footnote: str) -> Figure:
    """A panel for every family, a row for every problem of one stage: bars for the fastest of fastconv's backends,
    markers for everyone."""
    families = by_family(races)
    heights = [len(found) + 2.2 for found in families.values()]
    figure = Figure(figsize=(11, 2.0 + _ROW * sum(heights)), layout="constrained")
    grid = figure.subplots(len(families), 1, squeeze=False, height_ratios=heights, sharex=True).ravel()
    shown = [ratio for race in races for name in race.runners if (ratio := _speed(race, name)) is not None]
    for axes, (family, found) in zip(grid, families.items(), strict=True):
        ends = speed_scale(axes, shown)
        for place, race in enumerate(found):
            champion = race.champion
            if champion:
                name = champion.contestant
                _bar(axes, place, race.to_torch(champion), looks[name], ends, name.removeprefix("fastconv."))
            for name, look in looks.items():
                if name != REFERENCE and (ratio := _speed(race, name)) is not None:
                    _mark(axes, place, min(max(ratio, ends[0]), ends[1]), look)
        _rows(axes, [race.problem for race in found], family)
        axes.tick_params(labelbottom=True)
    grid[-1].set_xlabel(
        "speed over torch's (1: as fast; 2: twice as fast), from best bursts; markers at an end lie beyond it"
    )
    handles = [marker(name, look) for name, look in looks.items() if name != REFERENCE]
    title = f"{stage_title(races[0].stage)}: fastconv's fastest backend (bars) and everyone (markers), over torch"
    frame(figure, title, footnote, handles)
    return figure


def _speed(race: Race, name: str) -> float | None:
    record = race.runners.get(name)
    return race.to_torch(record) if record else None


def _bar(axes: Axes, place: int, ratio: float | None, look: Look, ends: tuple[float, float], note: str) -> None:
    """From torch's line to ``ratio``, the figure in a column at the right; only the note without a ratio."""
    text = note if ratio is None else f"{MARKS[verdict(ratio)]} {digits(ratio)}  {note}"
    axes.annotate(
        text, (1, place), (6, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points", va="center", size=8
    )
    if ratio is None:
        return
    loses = ratio < 1
    axes.barh(
        place,
        min(max(ratio, ends[0]), ends[1]) - 1,
        left=1,
        height=0.62,
        facecolor="white" if loses else look.colour,
        edgecolor=look.colour,
        hatch="////" if loses else None,
        linewidth=1,
    )


def _mark(axes: Axes, place: int, ratio: float, look: Look) -> None:
    axes.plot(
        ratio,
        place,
        marker=look.marker,
        markersize=5.5,
        markerfacecolor=look.face,
        markeredgecolor=look.colour if look.hollow else "white",
        markeredgewidth=1.1 if look.hollow else 0.6,
        linestyle="none",
        clip_on=False,
        zorder=3,
    )


def _rows(axes: Axes, labels: list[str], title: str) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_title(title)
