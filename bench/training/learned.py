"""What networks learned: the accuracies in the logs of training runs, as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.results import ResultsError
from models.training.run_folder import CONFIG, LOG, write_aside

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
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, "runs": [asdict(run) for run in runs]}
    write_aside(path, (json.dumps(content, indent=1) + "\n").encode())


def load(path: Path) -> list[Learned]:
    """Read a file; raises ResultsError for no such file, or one of another kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] == FORMAT:
            return [Learned(**run) for run in content["runs"]]
    except OSError as error:
        raise ResultsError(f"{path}: can't be read ({error.strerror})") from None
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ResultsError(f"{path}: holds nothing learned ({error!r})") from error
    raise ResultsError(f"{path}: its format is {content['format']!r}, and this reads {FORMAT!r}")
