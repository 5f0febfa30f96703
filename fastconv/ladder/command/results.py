"""A run's results as a file: JSON, with the machine that they are of."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastconv.ladder.command.assembly import Code
from fastconv.ladder.command.measuring import Limits, Row

FORMAT = 1


@dataclass
class Results:
    """All that a run found; ``machine`` are facts for people."""

    layer: str
    machine: dict[str, str]
    limits: Limits
    rows: list[Row] = field(default_factory=list)
    tiles: dict[tuple[int, int], float] = field(default_factory=dict)
    """Flops a second by the filters and pixels of rung 06's tiles."""
    code: list[Code] = field(default_factory=list)


def save(results: Results, path: Path) -> None:
    """Writes the file, all of it or nothing."""
    content: dict[str, Any] = {"format": FORMAT, **asdict(results)}
    content["tiles"] = [[*shape, rate] for shape, rate in results.tiles.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def load(path: Path) -> Results:
    """Returns the results that `save` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content.pop("format")
    limits = content["limits"]
    return Results(
        content["layer"],
        content["machine"],
        Limits({int(count): peak for count, peak in limits["peaks"].items()}, limits["bandwidth"]),
        [Row(**row) for row in content["rows"]],
        {(rows, width): rate for rows, width, rate in content["tiles"]},
        [Code(**code) for code in content["code"]],
    )
