"""What networks learned: the accuracies in the logs of training runs, as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastconv.bench.results import ResultsError
from fastconv.bench.training import files
from fastconv.models.training.run_folder import CONFIG, LOG

FORMAT = "learned 1"


@dataclass(frozen=True)
class Learned:
    """One run: who trained what, how, and the share of the test images, 0..1, recognised after each epoch."""

    network: str
    backend: str
    seed: int
    recipe: dict[str, Any]
    shape: list[int]
    test_accuracy: list[float]


def learned(run: Path) -> Learned:
    """What the run folder ``run`` tells; raises ResultsError for one that tells nothing."""
    try:
        config = json.loads((run / CONFIG).read_text(encoding="utf-8"))
        records = [json.loads(line) for line in (run / LOG).read_text(encoding="utf-8").splitlines()]
        accuracies = [record["test_accuracy"] for record in records if record["event"] == "epoch"]
        if not accuracies:
            raise ResultsError(f"{run}: its log has no whole epoch")
        return Learned(
            config["network"],
            config["backend"],
            config["seed"],
            config["recipe"],
            list(config["dataset"]["shape"]),
            accuracies,
        )
    except OSError as error:
        raise ResultsError(f"{error.filename}: can't be read ({error.strerror}); is {run} a run folder?") from None
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ResultsError(f"{run}: is no run folder ({error!r})") from error


def save(runs: Sequence[Learned], path: Path) -> None:
    """Write a file, all of it or nothing."""
    files.write(path, FORMAT, {"runs": [asdict(run) for run in runs]})


def load(path: Path) -> list[Learned]:
    """Read a file; raises ResultsError for no such file, or one of another kind."""
    return files.read(path, FORMAT, lambda content: [Learned(**run) for run in content["runs"]])
