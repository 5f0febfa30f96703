"""What the contest of trainings found, as a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastconv.bench.training import files

FORMAT = "training 1"


@dataclass
class Race:
    """One network: the steps of an epoch, the seconds of each step that a contestant trained, and who couldn't."""

    network: str
    epoch_steps: int
    steps: dict[str, list[float]]
    troubles: dict[str, str]

    def epoch(self, contestant: str) -> float:
        """Seconds of an epoch: of the steps that were trained, or reckoned from their mean if they are fewer."""
        made = self.steps[contestant][: self.epoch_steps]
        return sum(made) / len(made) * self.epoch_steps


@dataclass(frozen=True)
class TrainingResults:
    """A whole run; ``environment`` as in `fastconv.bench.results.Results`."""

    environment: dict[str, str]
    races: list[Race]


def save(results: TrainingResults, path: Path) -> None:
    """Write a file of results, all of it or nothing; seconds to the microsecond."""
    content = asdict(results)
    for race in content["races"]:
        race["steps"] = {name: [round(seconds, 6) for seconds in made] for name, made in race["steps"].items()}
    files.write(path, FORMAT, content)


def load(path: Path) -> TrainingResults:
    """Read a file of results; raises ResultsError for no such file, or one of another kind."""

    def made(content: dict[str, Any]) -> TrainingResults:
        return TrainingResults(dict(content["environment"]), [Race(**race) for race in content["races"]])

    return files.read(path, FORMAT, made)
