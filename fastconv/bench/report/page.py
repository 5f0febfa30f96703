"""The report as one HTML page that needs nothing else: style, pictures and a few lines of script are in it.

Without JavaScript all but sorting works. Pictures are SVG in `img` elements, so that their identifiers can't clash.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from fastconv.bench.report.algorithms import algorithms
from fastconv.bench.report.grid import Grid
from fastconv.bench.report.header import LIMIT, particulars, sentence
from fastconv.bench.report.listings import everything, glance, troubles
from fastconv.bench.report.markdown import TITLE
from fastconv.bench.report.pictures import Picture
from fastconv.bench.report.races import Stage, by_stage, races, stage_title
from fastconv.bench.report.summaries import MEANING, by_set, champions, standings
from fastconv.bench.results import Results

Part = tuple[str, Any]
"""What stands in a section: ("text", str), ("grid", Grid), ("folded", Grid), which readers open, or a picture."""


def page(results: Results, pictures: Sequence[Picture] = ()) -> str:
    """The whole page."""

    def drawn(stage: Stage | None) -> list[Part]:
        return [("picture", picture) for picture in pictures if picture.stage == stage]

    found = races(results)
    tables = [standings(found), champions(found), algorithms(results)]
    sections: list[tuple[str, list[Part]]] = [("Summary", [("text", MEANING), *drawn(None), *_grids(*tables)])]
    for stage, some in by_stage(found).items():
        parts = [*_grids(glance(some)), *drawn(stage), *_grids(by_set(some)), ("folded", everything(some))]
        sections.append((stage_title(stage), parts))
    failures = troubles(results)
    if failures:
        sections.append(("Not timed", _grids(failures)))
    sections.append(("The run", [*_grids(particulars(results)), ("text", LIMIT)]))

    templates = Environment(
        loader=PackageLoader("fastconv.bench.report", ""), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= {"anchor": _anchor, "base64": _base64}
    return templates.get_template("page.html.jinja").render(title=TITLE, lead=sentence(results), sections=sections)


def _grids(*grids: Grid | None) -> list[Part]:
    return [("grid", grid) for grid in grids if grid]


def _anchor(title: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in title.lower()).split())


def _base64(path: Path) -> str:
    return b64encode(path.read_bytes()).decode()
