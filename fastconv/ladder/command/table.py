"""What the command prints: a line for each rung as soon as it is measured, and notes below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastconv.ladder.command.assembly import LONGEST, Code
from fastconv.ladder.command.measuring import BASES, DEPTHWISE, Limits, Row

BAR = 20
"""Characters of a bar at 100% of the peak."""

WIDTHS = (4, 44, 10, 9, 6, 12)

HEADER = ("rung", "idea", "ms", "GFLOP/s", "peak", "times")


def header() -> str:
    """Returns the line above the rungs."""
    return _line(HEADER)


def line(row: Row, limits: Limits, rates: dict[str, float]) -> str:
    """Returns a rung's line; ``rates`` are those of the rungs above it, flops a second."""
    if row.seconds is None:
        return f"{row.number:>{WIDTHS[0]}}  {row.idea:<{WIDTHS[1]}}  {row.refusal}"
    share = row.rate / limits.peaks[row.threads]
    star = "*" if row.note else " "
    cells = (row.number, row.idea + star, f"{row.seconds * 1e3:.4g}", f"{row.rate / 1e9:.4g}", f"{share:.1%}")
    return f"{_line((*cells, times(row, rates)))}  {'#' * max(1, round(share * BAR))}"


def times(row: Row, rates: dict[str, float]) -> str:
    """Returns how many times as fast a rung is as the one that it is compared with, or nothing."""
    base = BASES.get(row.number)
    if base not in rates or row.number == DEPTHWISE:
        return ""
    return f"{row.rate / rates[base]:.3g} of {base}"


def notes(rows: Iterable[Row], limits: Limits) -> Iterator[str]:
    """Yields what the figures of single rungs mean."""
    for row in rows:
        if row.note:
            yield f"* rung {row.number}: {row.note}"
        if row.number == DEPTHWISE and row.seconds:
            allowed = min(limits.peaks[1], row.flops / row.bytes * limits.bandwidth)
            yield (
                f"  rung {row.number}: {row.layer}; {row.flops / row.bytes:.3g} flops a byte, so memory's "
                f"{limits.bandwidth / 1e9:.3g} GB/s allow {allowed / 1e9:.3g} GFLOP/s"
            )
        if row.threads > 1 and row.seconds:
            yield f"  rung {row.number}: its share is of the peak of {row.threads} threads; all others ran on one"


def code_lines(code: Code) -> Iterator[str]:
    """Yields the counts of a rung's machine code and its innermost loop."""
    counted = ", ".join(f"{count} {width}" for width, count in code.multiply_adds.items())
    yield f"rung {code.number}: fused multiply-adds by the width of their registers: {counted or 'none'}"
    yield f"its innermost loop with most arithmetic, {len(code.loop)} instructions:"
    yield from (f"    {line}" for line in code.loop[:LONGEST])
    if len(code.loop) > LONGEST:
        yield f"    and {len(code.loop) - LONGEST} more"


def _line(cells: Iterable[str]) -> str:
    number, idea, *figures = cells
    rest = [f"{cell:>{width}}" for cell, width in zip(figures, WIDTHS[2:], strict=True)]
    return "  ".join([f"{number:>{WIDTHS[0]}}", f"{idea:<{WIDTHS[1]}}", *rest])
