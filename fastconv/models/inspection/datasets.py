"""Images of any data set on which an open run can be tested, as its network takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from fastconv.models import data
from fastconv.models.data.dataset import Dataset
from fastconv.models.data.images import renormalised
from fastconv.models.data.preprocessing import OF_DATASETS
from fastconv.models.errors import ModelsError
from fastconv.models.inspection.facts import Facts

MOST_NAMED = 10
"""Most classes that a message names."""


def load_for(
    facts: Facts, dataset: str | None, data_dir: Path | None, console: Console, fallback: Path | None = None
) -> Dataset:
    """Returns the data set called ``dataset``, or else the run's own, normalised as the run's was, labelled by its
    classes.

    The folder is ``data_dir``; else, for the run's own data set, the one that the run was trained from; else
    ``fallback``, which is the environment's.

    Raises ModelsError for a data set that can't be loaded, as :func:`fastconv.models.data.load`, and for images or
    classes that the network isn't made for.
    """
    if data_dir is None and dataset in (None, own(facts)) and facts.source is not None and facts.source.data_dir:
        data_dir = Path(facts.source.data_dir)
    channels, height, width = facts.shape
    size = height if height == width else None
    wanted = channels if channels in (1, 3) else None
    found = data.load(dataset or own(facts), data_dir or fallback, console, size, wanted)
    if found.shape != facts.shape:
        shapes = [" x ".join(map(str, shape)) for shape in (found.shape, facts.shape)]
        raise ModelsError(f"{found.name} has images of {shapes[0]}; the run was trained on {shapes[1]}")
    labels = _by_name(found, facts.classes)
    found = replace(found, test_labels=labels, classes=facts.classes)
    if (found.mean, found.deviation) == (facts.mean, facts.deviation):
        return found
    images = renormalised(found.test_images, (found.mean, found.deviation), (facts.mean, facts.deviation))
    return replace(found, test_images=images, mean=facts.mean, deviation=facts.deviation)


def _by_name(found: Dataset, classes: tuple[str, ...]) -> Tensor:
    """Returns the test labels as the run counts classes; raises ModelsError for a class that only one of both has."""
    if found.classes == classes:
        return found.test_labels
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = [name for name in found.classes if name not in numbers]
    missing = [name for name in classes if name not in found.classes]
    if unknown or missing:
        differs = [f"{what} {_list(names)}" for what, names in (("has", unknown), ("lacks", missing)) if names]
        raise ModelsError(
            f"{found.name} {' and '.join(differs)}, unlike the classes that the run knows ({_list(classes)}); "
            "name the run's own data with --dataset and --data-dir"
        )
    return torch.tensor([numbers[name] for name in found.classes])[found.test_labels]


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED:,} more"


def is_own(found: Dataset, facts: Facts, dataset: str | None, data_dir: Path | None) -> bool:
    """Whether ``found``, by the name ``dataset`` and from the folder ``data_dir`` if they were named, is the run's."""
    if found.name != facts.dataset or dataset not in (None, own(facts)):
        return False
    known = facts.source.data_dir if facts.source is not None else None
    return data_dir is None or own(facts) in OF_DATASETS or known in (None, str(data_dir.resolve()))


def own(facts: Facts) -> str:
    """Returns the run's data set as `--dataset` calls it: a folder's own name stands for "folder"."""
    if facts.source is not None:
        return facts.source.dataset
    return facts.dataset if facts.dataset in data.DATASETS else "folder"
