"""A run's log, read back: the losses of its steps and the figures of its epochs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastconv.models.errors import ModelsError
from fastconv.models.training.checks import MOST_IMAGES
from fastconv.models.training.records import LARGEST
from fastconv.models.training.run_folder import LOG


@dataclass(frozen=True)
class History:
    """The history of a run. ``steps``: (epoch, step, loss) in order; ``epochs``: by number, each a record of figures
    under their names."""

    steps: list[tuple[int, int, float]]
    epochs: dict[int, dict[str, float]]

    def of(self, name: str) -> tuple[list[int], list[float]]:
        """Returns the epochs that have a figure ``name``, and the figures."""
        found = {number: record[name] for number, record in self.epochs.items() if name in record}
        return list(found), list(found.values())


def read_log(folder: Path) -> History:
    """Returns the history in the log of the run in ``folder``; of two entries on one step or epoch the last counts.

    An incomplete last line, as a killed run leaves it, is left out. Raises ModelsError for a log that is
    missing or damaged.
    """
    path = folder / LOG
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelsError(f"{path}: can't be read ({error.strerror}); is its folder that of a run?") from None
    except UnicodeDecodeError:
        raise ModelsError(f"{path}: isn't text; is it damaged?") from None
    steps: dict[tuple[int, int], float] = {}
    epochs: dict[int, dict[str, float]] = {}
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            record = json.loads(line)
            if record["event"] == "step":
                steps[_count(record["epoch"]), _count(record["step"])] = float(record["loss"])
            elif record["event"] == "epoch":
                epochs[_count(record["number"])] = _figures(record)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise ModelsError(f"{path}: line {number} isn't a record of a run; is it damaged?") from None
    return History([(*at, loss) for at, loss in sorted(steps.items())], dict(sorted(epochs.items())))


def _figures(record: dict[str, Any]) -> dict[str, float]:
    figures = {name: value for name, value in record.items() if type(value) in (int, float)}
    if any(type(value) is int and abs(value) >= LARGEST for value in figures.values()):
        raise ValueError
    return figures


def _count(value: Any) -> int:
    """The number of an epoch or a step."""
    if type(value) is not int or not 1 <= value <= MOST_IMAGES:
        raise ValueError
    return value
