"""The report made from a run's results: Markdown, pictures, one HTML page, and the tables of README and docs.

`races` sorts the results out; `summaries` and `listings` make tables of them, which `grid` lays out as Markdown, HTML
or for the terminal; `bars` and `roofline` draw; `markdown`, `page` and `pages` put it all together. `compare` judges
what changed between two runs, and `changes` makes tables of that.
"""

from __future__ import annotations

from pathlib import Path

from fastconv.bench.report.markdown import markdown
from fastconv.bench.report.markers import MarkerError
from fastconv.bench.report.page import page
from fastconv.bench.report.pages import keep_picture, rewrite_tables
from fastconv.bench.report.pictures import draw
from fastconv.bench.results import Results, ResultsError

__all__ = ["MarkerError", "keep_picture", "rewrite_tables", "write_report"]


def write_report(results: Results, folder: Path) -> list[Path]:
    """Write report.md, report.html and the pictures, PNG and SVG, into ``folder``; gives their paths.

    Raises:
        ResultsError: no contestant has a result.
    """
    if not results.by_key():
        raise ResultsError("nothing to report: no contestant has a result")
    pictures = draw(results, folder)
    texts = {"report.md": markdown(results, pictures), "report.html": page(results, pictures)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    files = [path for picture in pictures for path in (picture.png, picture.svg)]
    return [*(folder / name for name in texts), *files]
