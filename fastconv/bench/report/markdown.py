"""The report as one Markdown file, its pictures beside it."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv.bench.report.algorithms import algorithms
from fastconv.bench.report.grid import Grid, to_markdown
from fastconv.bench.report.header import LIMIT, particulars, sentence
from fastconv.bench.report.listings import everything, glance, troubles
from fastconv.bench.report.pictures import Picture
from fastconv.bench.report.races import by_stage, races, stage_title
from fastconv.bench.report.summaries import MEANING, by_set, champions, standings
from fastconv.bench.results import Results

TITLE = "fastconv's bench"


def markdown(results: Results, pictures: Sequence[Picture] = ()) -> str:
    """Header, summary, then every stage from the short table to the long one, and who failed."""
    found = races(results)
    parts = [f"# {TITLE}", sentence(results), to_markdown(particulars(results)), LIMIT]
    parts += ["## Summary", MEANING, *_shown(pictures, None)]
    parts += [to_markdown(table) for table in (standings(found), champions(found), algorithms(results)) if table]
    for stage, some in by_stage(found).items():
        parts += [f"## {stage_title(stage)}", to_markdown(by_set(some)), to_markdown(glance(some))]
        parts += [*_shown(pictures, stage), _folded(everything(some))]
    failures = troubles(results)
    if failures:
        parts += ["## Not timed", to_markdown(failures)]
    return "\n\n".join(parts) + "\n"


def _shown(pictures: Sequence[Picture], stage: tuple[bool, str] | None) -> list[str]:
    return [f"![{picture.title}]({picture.png.name})" for picture in pictures if picture.stage == stage]


def _folded(grid: Grid) -> str:
    """A long table that readers open."""
    return f"<details><summary>{grid.title}</summary>\n\n{to_markdown(grid)}\n\n</details>"
