"""The command: measures, prints while it does, and writes results and pictures."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path

from fastconv import machine
from fastconv.errors import ArgumentValueError
from fastconv.ladder.backend import RUNGS
from fastconv.ladder.command import assembly, layer, measuring, table
from fastconv.ladder.command.results import Results, save
from fastconv.ladder.tile import vector_bytes

RESULTS = "ladder.json"


def run(
    text: str, count: int | None, rungs: list[str] | None, *, seconds: float = measuring.SECONDS, tiles: bool = False
) -> Results:
    """Measures rungs on a layer, prints a line for each, and returns all of it.

    ``count`` is the number of threads of rung 10; ``seconds`` is how long each rung is repeated.
    """
    count = machine.usable_cores() if count is None else count
    g, numbers = layer.parse(text), known(rungs)
    if count < 1:
        raise ArgumentValueError("threads", count, "it must be at least 1")
    print(f"{layer.describe(g)}, float32: {g.flops / 1e9:.3g} GFLOP; measuring the peak", flush=True)
    limits = measuring.limits(count)
    peaks = ", ".join(f"{peak / 1e9:.0f} GFLOP/s on {n} thread{'s' * (n > 1)}" for n, peak in limits.peaks.items())
    print(f"peak {peaks}; main memory {limits.bandwidth / 1e9:.3g} GB/s\n\n{table.header()}", flush=True)
    facts = {name: machine.describe()[name] for name in ("processor", "instruction set", "cores", "packages")}
    facts["date"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    found, rates = Results(text, facts, limits), dict[str, float]()
    for row in measuring.measure(text, numbers, count, seconds):
        found.rows.append(row)
        print(table.line(row, limits, rates), flush=True)
        rates[row.number] = row.rate
    print("\n".join(["", *table.notes(found.rows, limits)]))
    if tiles:
        found.tiles = _tiles(text, limits.peaks[1], seconds / 4)
    return found


def known(rungs: list[str] | None) -> list[str]:
    """Returns the numbers of rungs that are asked for, all by default; "6" is "06"."""
    numbers = [each.zfill(2) for each in rungs or RUNGS]
    for number in numbers:
        if number not in RUNGS:
            raise ArgumentValueError("rung", repr(number), f"the rungs are {', '.join(RUNGS)}")
    return numbers


def show_code(text: str, rungs: list[str] | None) -> None:
    """Prints the machine code of rungs."""
    if not rungs:
        raise ArgumentValueError("asm", "no rung", "--rung must name one, as --rung 4 --asm")
    for number in known(rungs):
        print("\n".join(table.code_lines(assembly.code(number, text))))


def keep(found: Results, folder: Path) -> None:
    """Writes a run's results into a folder, and pictures where matplotlib is installed; prints which."""
    save(found, folder / RESULTS)
    print(f"results in {folder / RESULTS}")
    if importlib.util.find_spec("matplotlib") is None:
        print("no pictures: they need matplotlib, pip install 'fastconv[plots]'")
        return
    from fastconv.ladder.command import pictures

    print("\n".join(f"picture in {path}" for path in pictures.draw(found, folder)))


def shapes() -> list[tuple[int, int]]:
    """Returns the shapes of tiles that are compared: 1 to 14 filters by 1 to 4 vectors, up to 32 vectors of sums."""
    lanes = vector_bytes() // 4
    return [(rows, lanes * n) for rows in (1, 2, 4, 6, 8, 12, 14) for n in (1, 2, 3, 4) if rows * n <= 32]


def _tiles(text: str, peak: float, seconds: float) -> dict[tuple[int, int], float]:
    """Returns the rates of tiles of different shapes, and prints each."""
    found = {}
    print("\nrung 06 by the shape of its tile, filters x pixels:")
    for (rows, width), rate in measuring.tiles(text, shapes(), seconds):
        found[rows, width] = rate
        print(f"{rows:6} x {width:<3} {rate / 1e9:8.1f} GFLOP/s {rate / peak:6.1%}", flush=True)
    return found
