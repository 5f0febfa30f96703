"""A table, written once and laid out three ways: as Markdown, as HTML, and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from rich import box
from rich.table import Table
from rich.text import Text

from fastconv.bench.report.cells import Cell

_COLOURS = {"faster": "green", "slower": "red", "level": "yellow"}


@dataclass(frozen=True)
class Column:
    """A heading; texts stand left and numbers right."""

    title: str
    number: bool = True


@dataclass(frozen=True)
class Grid:
    """Rows of cells under columns. ``note`` says what a reader can't guess."""

    columns: list[Column]
    rows: list[list[Cell]]
    title: str = ""
    note: str = ""
    groups: list[int] = field(default_factory=list)
    """The rows that begin a new group."""


def to_markdown(grid: Grid) -> str:
    """A pipe table, with title and note before it where there are any."""
    lines = [f"**{grid.title}**", ""] if grid.title else []
    lines += [grid.note, ""] if grid.note else []
    lines.append(_pipes([column.title for column in grid.columns]))
    lines.append("|" + "|".join("---:" if column.number else "---" for column in grid.columns) + "|")
    lines += [_pipes([cell.marked for cell in row]) for row in grid.rows]
    return "\n".join(lines)


def to_html(grid: Grid) -> str:
    """A table in a box that scrolls by itself; cells carry the number to sort by."""
    kinds = ["number" if column.number else "text" for column in grid.columns]
    heads = "".join(
        f'<th scope="col" class="{kind}">{escape(column.title)}</th>'
        for column, kind in zip(grid.columns, kinds, strict=True)
    )
    body = []
    for index, row in enumerate(grid.rows):
        opening = '<tr class="group">' if index in grid.groups else "<tr>"
        body.append(opening + "".join(map(_html_cell, row, kinds)) + "</tr>")
    note = f'<p class="note">{escape(grid.note)}</p>\n' if grid.note else ""
    caption = f"<h4>{escape(grid.title)}</h4>\n" if grid.title else ""
    rows = "\n".join(body)
    return (
        f'{caption}{note}<div class="scroll" tabindex="0"><table>\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def to_rich(grid: Grid) -> Table:
    """For the terminal."""
    table = Table(title=Text(grid.title) if grid.title else None, box=box.SIMPLE_HEAD)
    table.caption = Text(grid.note) if grid.note else None
    for column in grid.columns:
        table.add_column(Text(column.title), justify="right" if column.number else "left", no_wrap=not column.number)
    for row in grid.rows:
        table.add_row(*(Text(cell.marked, style=_COLOURS.get(cell.verdict, "")) for cell in row))
    return table


def _pipes(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _html_cell(cell: Cell, kind: str) -> str:
    value = f' data-value="{cell.value:.6g}"' if cell.value is not None else ""
    return f'<td class="{f"{kind} {cell.verdict}".strip()}"{value}>{escape(cell.marked)}</td>'
