"""A run's configuration, as ``config.json`` holds it: written when it begins, read when it goes on."""

from __future__ import annotations

import json
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
from models.data.checksum import checksum
from models.data.dataset import Dataset
from models.data.source import Source
from models.errors import ModelsError
from models.recipes import Recipe
from models.training.records import record
from models.training.settings import Settings


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
    """The configuration in the file ``path`` of this ``content``; its settings are checked in kind, not in value.

    Raises ModelsError for what isn't one.
    """
    try:
        whole = json.loads(content)
        chosen = {name: whole[name] for name in Settings.__annotations__}
        settings = record(Settings, {**chosen, "recipe": record(Recipe, chosen["recipe"])})
        source = record(Source, whole["source"]) if whole["source"] else None
        whole["dataset"]["sha256"]
    except KeyError as error:
        raise ModelsError(f"{path}: is no configuration of a run that can go on ({error} is missing)") from None
    except (TypeError, ValueError) as error:
        raise ModelsError(f"{path}: is no configuration of a run ({error}); put back the one written with it") from None
    return Config(settings, source, whole)


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
