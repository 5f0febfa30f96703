"""The subject is the image to show a network whose layers are looked at."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from torch import Tensor

from fastconv.models.inspection.datasets import load_for
from fastconv.models.inspection.seeing import look_at
from fastconv.models.inspection.trained import Trained


def chosen_image(
    run: Trained,
    picture: Path | None,
    dataset: str | None,
    data_dir: Path | None,
    fallback: Path | None,
    as_is: bool,
    console: Console,
) -> tuple[Tensor, str]:
    """Returns an image (1, channels, height, width), normalised for ``run``, and a name for it.

    It is that of the file ``picture``; or else the first test image of ``dataset``, or of the run's own, found as by
    :func:`fastconv.models.inspection.datasets.load_for`. For a run on MNIST
    that comes along scikit-learn's digits stand in where MNIST can't be had.
    """
    if picture is not None:
        return run.normalised(look_at(picture, run.facts.preprocessing, as_is)[1][None]), picture.name
    if dataset is None and run.came_along and run.facts.dataset == "mnist":
        dataset = "auto"
    data = load_for(run.facts, dataset, data_dir, console, fallback)
    label = run.facts.classes[int(data.test_labels[0])]
    return data.test_images[:1], f"the first test image of {data.name}, a {label}"
