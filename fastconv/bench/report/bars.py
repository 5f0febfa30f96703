"""Bar charts of speed over torch's: by contestant for every stage, and by problem for one stage.

Bars begin at torch's line. One that goes right is a win and solid, one that goes left a loss and hatched.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastconv.bench.report.canvas import marker, panel, sheet, speed_scale
from fastconv.bench.report.cells import MARKS, digits
from fastconv.bench.report.palette import Look
from fastconv.bench.report.races import Race, by_family, by_stage, contestants, geometric_mean, stage_title, verdict
from fastconv.bench.results import REFERENCE

_ROW, _TITLE, _AXIS = 0.25, 0.42, 0.42
"""Inches that a bar, a panel's title above it and its axis below it take."""

_LETTER, _FIGURES = 0.078, 1.3
"""Inches that a letter of a row's label takes, and the figures at a row's end."""


def overview(races: list[Race], looks: dict[str, Look], footnote: str) -> Figure:
    """A panel for every stage, two side by side, a bar for every contestant: the geometric mean over all problems."""
    stages = by_stage(races)
    names = [name for name in contestants(races) if name != REFERENCE]
    means = {stage: {name: _mean(found, name) for name in names} for stage, found in stages.items()}
    shown = [mean for table in means.values() for mean in table.values() if mean]
    left, width, height = 0.2 + _LETTER * max(map(len, names)), 2.9, _ROW * len(names)
    pitch = left + width + _FIGURES
    rows = -(-len(stages) // 2)
    title = "How fast is each contestant, compared with torch? (1: as fast; 2: twice as fast)"
    body = rows * (_TITLE + height + _AXIS) + 0.2
    figure, top = sheet(2 * pitch, body, title, f"{footnote} · bars are cut at 1/8", ())
    for index, (stage, found) in enumerate(stages.items()):
        row, column = divmod(index, 2)
        down = top + _TITLE + row * (_TITLE + height + _AXIS)
        axes = panel(figure, left + column * pitch, down, width, height)
        ends = speed_scale(axes, shown)
        for place, name in enumerate(names):
            count = sum(_speed(race, name) is not None for race in found)
            part = "" if count == len(found) else f"({count} of {len(found)})" if count else "not run"
            _bar(axes, place, means[stage][name], looks[name], ends, part)
        _rows(axes, names, stage_title(stage))
        if index >= len(stages) - 2:
            axes.set_xlabel("speed over torch's, geometric mean")
    return figure


def by_problem(races: list[Race], looks: dict[str, Look], footnote: str) -> Figure:
    """A panel for every family, a row for every problem of one stage: a bar for the fastest of fastconv's backends,
    markers for everyone."""
    families = by_family(races)
    shown = [ratio for race in races for name in race.runners if (ratio := _speed(race, name)) is not None]
    left, width = 0.2 + _LETTER * max(len(race.problem) for race in races), 6.6
    body = sum(_TITLE + _ROW * len(found) + _AXIS for found in families.values()) + 0.2
    others = {name: look for name, look in looks.items() if name != REFERENCE}
    title = f"{stage_title(races[0].stage)}: speed over torch's"
    note = f"{footnote} · bars are the fastest of fastconv's backends, markers everyone; at an end they lie beyond it"
    handles = [marker(name, look) for name, look in others.items()]
    figure, top = sheet(left + width + _FIGURES, body, title, note, handles)
    for family, found in families.items():
        axes = panel(figure, left, top + _TITLE, width, _ROW * len(found))
        top += _TITLE + _ROW * len(found) + _AXIS
        ends = speed_scale(axes, shown)
        for place, race in enumerate(found):
            champion = race.champion
            if champion:
                name = champion.contestant
                _bar(axes, place, race.to_torch(champion), looks[name], ends, name.removeprefix("fastconv."))
        for name, look in others.items():
            _marks(axes, [_speed(race, name) for race in found], look, ends)
        _rows(axes, [race.problem for race in found], family)
    axes.set_xlabel("speed over torch's (1: as fast; 2: twice as fast), from best bursts")
    return figure


def _mean(races: list[Race], name: str) -> float | None:
    """The geometric mean of a contestant's speeds over torch's; None without any."""
    speeds = [speed for race in races if (speed := _speed(race, name)) is not None]
    return geometric_mean(speeds) if speeds else None


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


def _marks(axes: Axes, ratios: list[float | None], look: Look, ends: tuple[float, float]) -> None:
    """A contestant's marker on every row that it has a ratio for."""
    known = [(min(max(ratio, ends[0]), ends[1]), row) for row, ratio in enumerate(ratios) if ratio is not None]
    points = axes.plot([x for x, _ in known], [row for _, row in known], linestyle="none", marker=look.marker)[0]
    points.set(markersize=5.5, markerfacecolor=look.face, clip_on=False, zorder=3)
    points.set(markeredgecolor=look.colour if look.hollow else "white", markeredgewidth=1.1 if look.hollow else 0.6)


def _rows(axes: Axes, labels: list[str], title: str) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_title(title)
