"""The README's tables: whatever stands between ``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->`` is made anew."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from bench.report.grid import to_markdown
from bench.report.header import sentence
from bench.report.listings import layers, tally
from bench.report.races import by_stage, races, stage_title
from bench.report.summaries import MEANING, champions, standings
from bench.report.ways import ways
from bench.results import Results, ResultsError

PICTURE = "overview.png"

_MARKER = re.compile(r"<!-- (?P<closing>/?)bench:(?P<name>[\w-]*) -->")


class MarkerError(ResultsError):
    """Markers that don't pair up, or none; the message says which, and the line."""


def rewrite_readme(results: Results, path: Path) -> None:
    """Make the tables between the markers of ``path`` from ``results``; all of them or none, the rest untouched.

    Raises:
        MarkerError: no markers, an unknown name, or an opening marker without its closing one or the reverse.
    """
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read()
    fresh = _rewritten(text, results, path)
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("w", encoding="utf-8", newline="") as file:
            file.write(fresh)
        aside.chmod(path.stat().st_mode)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def keep_picture(report: Path, folder: Path) -> None:
    """Copy the overview from a report's folder to the one that the README shows it from.

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
    """A row a layer, won or lost, to be opened."""
    table = to_markdown(layers(races(results)))
    return f"<details><summary>Every layer</summary>\n\n{sentence(results)}\n\n{table}\n\n</details>"


def where_ways_win(results: Results) -> str:
    """On how many problems each of a backend's ways is the fastest."""
    table = ways(results)
    if table is None:
        raise ResultsError("no backend took part in two of its ways, as the table that shows where each wins needs")
    return to_markdown(table)


BLOCKS: dict[str, Callable[[Results], str]] = {"summary": summary, "layers": every_layer, "ways": where_ways_win}


def _rewritten(text: str, results: Results, path: Path) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    parts, end = [], 0
    for opening, closing in _pairs(text, path):
        content = BLOCKS[opening["name"]](results).strip().replace("\n", newline)
        parts += [text[end : opening.end()], newline, content, newline]
        end = closing.start()
    return "".join([*parts, text[end:]])


def _pairs(text: str, path: Path) -> list[tuple[re.Match[str], re.Match[str]]]:
    """Each opening marker with its closing one, in order."""

    def refuse(marker: re.Match[str], why: str) -> MarkerError:
        line = text.count("\n", 0, marker.start()) + 1
        return MarkerError(f"{path}, line {line}: {marker[0]} {why}")

    pairs: list[tuple[re.Match[str], re.Match[str]]] = []
    opened: re.Match[str] | None = None
    for marker in _MARKER.finditer(text):
        if marker["name"] not in BLOCKS:
            raise refuse(marker, f"is none of the tables there are: {', '.join(BLOCKS)}")
        if not marker["closing"]:
            if opened:
                raise refuse(marker, f"comes before {opened[0]} is closed")
            opened = marker
        elif opened is None or opened["name"] != marker["name"]:
            raise refuse(marker, f"closes {opened[0]}" if opened else "closes what was not opened")
        else:
            pairs.append((opened, marker))
            opened = None
    if opened:
        raise refuse(opened, "is never closed")
    if not pairs:
        names = " or ".join(f"<!-- bench:{name} --> ... <!-- /bench:{name} -->" for name in BLOCKS)
        raise MarkerError(f"{path}: has no markers for tables; write {names} where they should be")
    return pairs
