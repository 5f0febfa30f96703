"""All pictures of a report, drawn without a display and saved as PNG and SVG."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from fastconv.bench.report import bars
from fastconv.bench.report.canvas import save
from fastconv.bench.report.header import sentence
from fastconv.bench.report.palette import looks
from fastconv.bench.report.races import Race, Stage, by_stage, contestants, races, stage_title
from fastconv.bench.report.roofline import roofline
from fastconv.bench.results import Results
from fastconv.models.inspection.style import style


@dataclass(frozen=True)
class Picture:
    """A picture as files. ``stage`` is what it is about, None for all."""

    title: str
    stage: Stage | None
    png: Path
    svg: Path


def draw(results: Results, folder: Path) -> list[Picture]:
    """Draw everything into ``folder``: an overview, and for every stage the bars and the roofline."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with style():
        for name, title, stage, figure in _figures(results):
            png, svg = save(figure, folder, name)
            drawn.append(Picture(title, stage, png, svg))
    return drawn


def _figures(results: Results) -> Iterator[tuple[str, str, Stage | None, Figure]]:
    """File name, title, stage and figure of each; bars only where somebody can be compared with torch."""
    found = races(results)
    styles, footnote = looks(contestants(found)), sentence(results)
    if _compared(found):
        title = "Every contestant's speed over torch's, geometric mean"
        yield "overview", title, None, bars.overview(found, styles, footnote)
    for stage, some in by_stage(found).items():
        title, slug = stage_title(stage), f"{'pool' if stage[0] else 'conv'}-{stage[1]}"
        if _compared(some):
            yield f"bars-{slug}", f"{title}: speed over torch's", stage, bars.by_problem(some, styles, footnote)
        yield f"roofline-{slug}", f"{title}: roofline", stage, roofline(some, results.limit, styles, footnote)


def _compared(found: list[Race]) -> bool:
    return any(race.reference and len(race.runners) > 1 for race in found)
