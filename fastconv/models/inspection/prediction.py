"""Predictions for a user's pictures: the likeliest classes of each, and how sure the network is of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fastconv.models.errors import ModelsError
from fastconv.models.inspection.picture_files import LARGEST_SIDE
from fastconv.models.inspection.seeing import Pixels, look_at
from fastconv.models.inspection.trained import Trained

RUNNERS_UP = 2


@dataclass(frozen=True)
class Prediction:
    """A picture with its prediction. ``seen``: (channels, height, width), what the network was shown of ``picture``;
    ``probabilities``: by class."""

    path: Path
    picture: Image.Image
    seen: Pixels
    probabilities: list[float]

    def ranking(self) -> list[int]:
        """Returns the numbers of the classes, the likeliest first."""
        return sorted(range(len(self.probabilities)), key=lambda at: -self.probabilities[at])


def predict(
    run: Trained, paths: Iterable[Path], as_is: bool, console: Console
) -> tuple[list[Prediction], list[ModelsError]]:
    """Returns the predictions of ``run`` for the pictures in the files ``paths``, and an error for each that fails.

    ``as_is`` pictures are resized and nothing else; see :func:`fastconv.models.inspection.seeing.seen`.
    """
    found, errors = [], []
    for path in track(list(paths), "predicting", console=console, transient=True, disable=not console.is_terminal):
        try:
            found.append(_predict(run, path, as_is))
        except ModelsError as error:
            errors.append(error)
    return found, errors


def prediction_table(found: Sequence[Prediction], classes: Sequence[str]) -> Table:
    """Returns a table with a line for each picture: its class, the probability, and the next likely classes."""
    table = Table(title="Predictions", title_justify="left")
    table.add_column("picture", overflow="fold")
    table.add_column("class")
    table.add_column("probability", justify="right")
    table.add_column("runners-up")
    for one in found:
        first, *others = [(classes[at], f"{one.probabilities[at]:.1%}") for at in one.ranking()[: RUNNERS_UP + 1]]
        table.add_row(str(one.path), *first, ", ".join(f"{name} ({share})" for name, share in others))
    return table


def _predict(run: Trained, path: Path, as_is: bool) -> Prediction:
    picture, pixels = look_at(path, run.facts.preprocessing, as_is)
    images = run.normalised(pixels[None])
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))  # enough to be drawn
    return Prediction(path, picture, run.pixels(images)[0], run.probabilities(images)[0].tolist())
