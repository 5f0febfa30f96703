"""The contest's tables on the README and the pages of docs/, between their markers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fastconv.bench.report.algorithms import algorithms
from fastconv.bench.report.grid import to_markdown
from fastconv.bench.report.header import sentence
from fastconv.bench.report.listings import layers, tally
from fastconv.bench.report.markers import rewrite_pages
from fastconv.bench.report.races import by_stage, races, stage_title
from fastconv.bench.report.summaries import MEANING, champions, standings
from fastconv.bench.results import Results, ResultsError

PICTURE = "overview.png"


def rewrite_tables(results: Results) -> list[Path]:
    """Makes the contest's tables anew on all pages, as `rewrite_pages`, and returns the pages."""
    return rewrite_pages({name: partial(make, results) for name, make in TABLES.items()})


def keep_picture(report: Path, folder: Path) -> None:
    """Copy the overview from a report's folder to the one that the pages show it from.

    Raises:
        OSError: there is none, or no way to write it; then the one there was stays.
    """
    folder.mkdir(exist_ok=True)
    aside = folder / f".{PICTURE}.part"
    try:
        shutil.copyfile(report / PICTURE, aside)
        os.replace(aside, folder / PICTURE)
    finally:
        aside.unlink(missing_ok=True)


def summary(results: Results) -> str:
    """The machine, every contestant by stage, and the fastest of fastconv's backends by set."""
    found = races(results)
    counts = [f"- {stage_title(stage)}: {tally(some)}" for stage, some in by_stage(found).items() if tally(some)]
    tables = [to_markdown(standings(found)), to_markdown(champions(found))]
    return "\n\n".join([sentence(results), *tables, MEANING, "\n".join(counts)])


def every_layer(results: Results) -> str:
    """Returns a table of a row a layer, won or lost."""
    table = to_markdown(layers(races(results)))
    return f"**Every layer**\n\n{sentence(results)}\n\n{table}"


def where_algorithms_win(results: Results) -> str:
    """On how many problems each of a backend's algorithms is the fastest."""
    table = algorithms(results)
    if table is None:
        raise ResultsError(
            "no backend took part by two of its algorithms, as the table that shows where each wins needs"
        )
    return to_markdown(table)


TABLES: dict[str, Callable[[Results], str]] = {
    "summary": summary,
    "layers": every_layer,
    "algorithms": where_algorithms_win,
}
