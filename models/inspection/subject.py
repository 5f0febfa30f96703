"""The image to show a network whose layers are to be looked at."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from models.errors import ModelsError
from models.inspection.datasets import load_for
from models.inspection.picture_files import open_picture
from models.inspection.seeing import Pixels, seen
from models.inspection.trained import Trained


def chosen_image(
    run: Trained, picture: Path | None, dataset: str | None, data_dir: Path | None, as_is: bool, console: Console
) -> tuple[Pixels, str]:
    """Pixels (channels, height, width) for ``run``, and what to call them.

    Those of the file ``picture``; or else the first test image of ``dataset``, or of the run's own. For a run on MNIST
    that comes along scikit-learn's digits stand in where MNIST can't be had.
    """
    if picture is not None:
        opened = open_picture(picture)
        try:
            return seen(opened, run.facts, as_is), picture.name
        except ModelsError as error:
            raise ModelsError(f"{picture}: {error}") from None
    if dataset is None and run.came_along and run.facts.dataset == "mnist":
        dataset = "auto"
    data = load_for(run.facts, dataset, data_dir, console)
    pixels = (data.test_images[:1][0] * data.deviation + data.mean) * 255
    label = run.facts.classes[int(data.test_labels[0])]
    return pixels.round().clamp(0, 255).byte().numpy(), f"the first test image of {data.name}, a {label}"
