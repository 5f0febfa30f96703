"""A table, written once and laid out three ways: as Markdown, for the terminal, and as HTML by page.html.jinja."""

from __future__ import annotations

from dataclasses import dataclass, field

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

    @property
    def kind(self) -> str:
        """Returns the column's class on an HTML page."""
        return "number" if self.number else "text"


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
