"""Packs a run into a small folder to give away: what it learned and how it went, nothing of the machine it ran on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from fastconv.models.errors import ModelsError
from fastconv.models.inspection.log import read_log
from fastconv.models.inspection.trained import Trained
from fastconv.models.training.run_folder import CONFIG, LOG, WEIGHTS, write_aside

LARGEST = 1_000_000
"""Most bytes of float32 weights; more are stored in half precision."""
SETTINGS = ("network", "backend", "recipe", "seed", "dataset")
DATA = ("name", "shape", "classes", "train_images", "test_images", "mean", "deviation", "preprocessing")
FIGURES = ("number", "train_loss", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy")


def pack(run: Trained, folder: Path) -> dict[str, int]:
    """Write ``run`` as a run of its own into ``folder``, empty or new; gives the files' sizes in bytes.

    It keeps the settings and the data from the configuration, and the epochs from the log. Weights of more than a
    megabyte are rounded to half precision, float16.

    Raises ModelsError for a damaged log, for weights beyond float16's range and for a folder that can't be used.
    """
    config: dict[str, Any] = json.loads((run.path / CONFIG).read_text(encoding="utf-8"))
    kept = _only(SETTINGS, config) | {"dataset": _only(DATA, config["dataset"])}
    if config.get("source"):
        kept["source"] = {**config["source"], "data_dir": None}
    records = [{"event": "epoch", **_only(FIGURES, epoch)} for epoch in read_log(run.path).epochs.values()]
    files = {
        CONFIG: (json.dumps(kept, indent=2) + "\n").encode(),
        LOG: "".join(json.dumps(record) + "\n" for record in records).encode(),
        WEIGHTS: safetensors.torch.save(_small(run.model.state_dict())),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ModelsError(f"{folder}: not an empty folder; name another with --out")
        for name, content in files.items():
            write_aside(folder / name, content)
    except OSError as error:
        raise ModelsError(f"{folder}: can't hold a run ({error.strerror}); name another folder with --out") from None
    return {name: len(content) for name, content in files.items()}


def _only(names: tuple[str, ...], values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _small(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    if sum(weight.nbytes for weight in weights.values()) <= LARGEST:
        return weights
    halves = {name: weight.to(torch.float16) for name, weight in weights.items()}
    for name, weight in halves.items():
        if not weight.isfinite().all():
            raise ModelsError(
                f"{name} has a weight beyond {torch.finfo(torch.float16).max:g}, float16's largest number"
            )
    return halves
