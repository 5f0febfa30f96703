"""Tables in a text: whatever stands between ``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->`` is made anew."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fastconv.bench.results import ResultsError

NAMES = (
    *("summary", "layers", "algorithms", "training", "networks", "networks-means"),
    *("ladder", "ladder-tiles", *(f"rung-{number:02}" for number in range(1, 15))),
)
"""The markers of all generated tables, the second line those of docs/cpu.md."""

_MARKER = re.compile(r"<!-- (?P<closing>/?)bench:(?P<name>[\w-]*) -->")


class MarkerError(ResultsError):
    """Markers that don't pair up, or none; the message says which, and the line."""


def rewrite_pages(tables: Mapping[str, Callable[[], str]]) -> list[Path]:
    """Makes the ``tables`` anew on every page that has markers for one: README.md and docs/*.md of the working folder.

    Returns:
        the pages, README.md first.

    Raises:
        MarkerError: a page has markers that don't pair up, or no page has any for them.
        OSError: a page can't be read or written.
    """
    pages = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]
    marked = [page for page in pages if page.exists() and _names(page) & tables.keys()]
    if not marked:
        raise MarkerError(f"neither README.md nor a page of docs/ here has markers for tables; {_how_to_mark(tables)}")
    for page in marked:
        rewrite(page, tables)
    return marked


def _names(page: Path) -> set[str]:
    return {marker["name"] for marker in _MARKER.finditer(page.read_text(encoding="utf-8"))}


def _how_to_mark(tables: Iterable[str]) -> str:
    names = " or ".join(f"<!-- bench:{name} --> ... <!-- /bench:{name} -->" for name in tables)
    return f"write {names} where they should be"


def rewrite(path: Path, tables: Mapping[str, Callable[[], str]]) -> None:
    """Make the ``tables`` anew between their markers in ``path``; all of them or none, the rest untouched.

    Raises:
        MarkerError: no markers for any of them, an unknown name, or an opening marker without its closing one or the
            reverse.
    """
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read()
    fresh = _rewritten(text, tables, path)
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("w", encoding="utf-8", newline="") as file:
            file.write(fresh)
        aside.chmod(path.stat().st_mode)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _rewritten(text: str, tables: Mapping[str, Callable[[], str]], path: Path) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    parts, end = [], 0
    pairs = [(opening, closing) for opening, closing in _pairs(text, path) if opening["name"] in tables]
    if not pairs:
        raise MarkerError(f"{path}: has no markers for tables; {_how_to_mark(tables)}")
    for opening, closing in pairs:
        content = tables[opening["name"]]().strip().replace("\n", newline)
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
        if marker["name"] not in NAMES:
            raise refuse(marker, f"is none of the tables there are: {', '.join(NAMES)}")
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
    return pairs
