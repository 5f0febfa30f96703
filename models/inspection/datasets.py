"""Images to test an open run on, whichever data set they are from, as its network wants them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from models import data
from models.data.dataset import Dataset
from models.data.images import renormalised
from models.errors import ModelsError
from models.inspection.facts import Facts


def load_for(facts: Facts, dataset: str | None, data_dir: Path | None, console: Console) -> Dataset:
    """The data set called ``dataset``, or else the run's own from where it was, normalised as it was then.

    Raises ModelsError for one that can't be had, as :func:`models.data.load`, and for images or classes that the
    network isn't made for.
    """
    if dataset is None and data_dir is None and facts.source is not None and facts.source.data_dir is not None:
        data_dir = Path(facts.source.data_dir)
    channels, height, width = facts.shape
    size = height if height == width else None
    found = data.load(dataset or own(facts), data_dir, console, size, channels if channels in (1, 3) else None)
    if found.shape != facts.shape:
        shapes = [" x ".join(map(str, shape)) for shape in (found.shape, facts.shape)]
        raise ModelsError(f"{found.name} has images of {shapes[0]}; the run was trained on {shapes[1]}")
    if (most := int(found.test_labels.max())) >= len(facts.classes):
        raise ModelsError(f"{found.name} has a class {most}; the run knows {len(facts.classes)}, the first being 0")
    if (found.mean, found.deviation) == (facts.mean, facts.deviation):
        return found
    images = renormalised(found.test_images, (found.mean, found.deviation), (facts.mean, facts.deviation))
    return replace(found, test_images=images, mean=facts.mean, deviation=facts.deviation)


def own(facts: Facts) -> str:
    """The run's data set as `--dataset` calls it: a folder's own name stands for "folder"."""
    if facts.source is not None:
        return facts.source.dataset
    return facts.dataset if facts.dataset in data.DATASETS else "folder"
