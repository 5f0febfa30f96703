"""The report as one HTML page that needs nothing else: style, pictures and a few lines of script are in it.

Without JavaScript all but sorting works. Pictures are SVG in `img` elements, so that their identifiers can't clash.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path

from fastconv.bench.report.algorithms import algorithms
from fastconv.bench.report.grid import Grid, to_html
from fastconv.bench.report.header import LIMIT, particulars, sentence
from fastconv.bench.report.listings import everything, glance, troubles
from fastconv.bench.report.markdown import TITLE
from fastconv.bench.report.pictures import Picture
from fastconv.bench.report.races import Stage, by_stage, races, stage_title
from fastconv.bench.report.summaries import MEANING, by_set, champions, standings
from fastconv.bench.results import Results

_FOLDER = Path(__file__).parent


def page(results: Results, pictures: Sequence[Picture] = ()) -> str:
    """The whole page."""
    found = races(results)
    tables = [standings(found), champions(found), algorithms(results)]
    summary = f"<p>{escape(MEANING)}</p>" + _shown(pictures, None) + _grids(*filter(None, tables))
    sections = [("Summary", summary)]
    for stage, some in by_stage(found).items():
        body = _grids(glance(some)) + _shown(pictures, stage) + _grids(by_set(some)) + _folded(everything(some))
        sections.append((stage_title(stage), body))
    failures = troubles(results)
    if failures:
        sections.append(("Not timed", _grids(failures)))
    sections.append(("The run", _grids(particulars(results)) + f"<p>{escape(LIMIT)}</p>"))

    links = "".join(f'<li><a href="#{_anchor(title)}">{escape(title)}</a></li>' for title, _ in sections)
    bodies = "\n".join(
        f'<section id="{_anchor(title)}"><h2>{escape(title)}</h2>\n{body}</section>' for title, body in sections
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(TITLE)}</title>
<style>
{_own("page.css")}</style>
</head>
<body>
<header><h1>{escape(TITLE)}</h1>
<p class="lead">{escape(sentence(results))}</p></header>
<nav><ul>{links}</ul></nav>
<main>
{bodies}
</main>
<script>
{_own("page.js")}</script>
</body>
</html>
"""


def _grids(*grids: Grid) -> str:
    return "\n".join(map(to_html, grids)) + "\n"


def _folded(grid: Grid) -> str:
    """A long table that readers open."""
    return f"<details><summary>{escape(grid.title)}</summary>\n{to_html(grid)}</details>\n"


def _shown(pictures: Sequence[Picture], stage: Stage | None) -> str:
    figures = []
    for picture in pictures:
        if picture.stage == stage:
            data = b64encode(picture.svg.read_bytes()).decode()
            figures.append(
                f'<figure><img alt="{escape(picture.title)}" src="data:image/svg+xml;base64,{data}"></figure>\n'
            )
    return "".join(figures)


def _anchor(title: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in title.lower()).split())


def _own(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
