"""A run's configuration, as ``config.json`` holds it: written when it begins, read when it goes on."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fastconv
from fastconv.models.data import check_name
from fastconv.models.data.checksum import checksum
from fastconv.models.data.dataset import Dataset
from fastconv.models.data.form import Form
from fastconv.models.data.source import Source
from fastconv.models.errors import ModelsError
from fastconv.models.training.records import read_object, record
from fastconv.models.training.settings import Settings, check_values

ABOUT = ("source", "dataset", "threads_used", "started", "machine", "versions")
"""What a configuration holds besides the settings."""


@dataclass(frozen=True)
class _Images:
    sha256: str


@dataclass(frozen=True)
class _Data:
    source: Source | None
    dataset: _Images


@dataclass(frozen=True)
class Config:
    """A configuration that was read: the settings, the source of the data, and the whole content."""

    settings: Settings
    source: Source | None
    whole: dict[str, Any]


def describe(settings: Settings, dataset: Dataset, source: Source | None) -> dict[str, Any]:
    """Returns all that identifies a run, its settings, data and versions, for ``config.json``."""
    return {
        **asdict(settings),
        "source": asdict(source) if source else None,
        "dataset": {
            "name": dataset.name,
            "shape": dataset.shape,
            "classes": dataset.classes,
            "train_images": len(dataset.train_labels),
            "test_images": len(dataset.test_labels),
            "mean": dataset.mean,
            "deviation": dataset.deviation,
            "preprocessing": asdict(dataset.preprocessing),
            "sha256": checksum(dataset),
        },
        "threads_used": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "fastconv": fastconv.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "safetensors": version("safetensors"),
        },
    }


def parse(content: bytes, path: Path) -> Config:
    """The configuration in the file ``path`` of this ``content``; what this machine can't do isn't seen here.

    Raises ModelsError, which names the setting and what is allowed, for what isn't one.
    """
    whole = read_object(content, path)
    try:
        settings = record(Settings, {name: value for name, value in whole.items() if name not in ABOUT})
        about = record(_Data, whole, others=True)
        check_values(settings)
        if about.source is not None:
            check_name(about.source.dataset)
            Form(about.source.size, about.source.channels)
    except (ValueError, ModelsError) as error:
        raise ModelsError(f"{path}: is no configuration of a run that can go on: {error}") from None
    return Config(settings, about.source, whole)


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what decides a run's course, without the number of epochs if the learning rate doesn't depend on it.

    Backend, device and threads aren't in it: they change roundings only.
    """
    recipe = dict(config["recipe"])
    if recipe["schedule"] == "constant":
        del recipe["epochs"]
    return {
        "network": config["network"],
        **recipe,
        **{name: config[name] for name in ("seed", "validation", "patience", "precision")},
        "data": config["dataset"]["sha256"],
    }
