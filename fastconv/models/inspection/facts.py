"""The facts that a run's configuration states, checked: nothing in a run's folder is trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any

from torch import nn

from fastconv.models import networks
from fastconv.models.backends import assign, parse
from fastconv.models.data.preprocessing import SUBJECTS, Preprocessing, assumed
from fastconv.models.data.source import Source
from fastconv.models.errors import ModelsError
from fastconv.models.recipes import MOST_VALUES, ImageShape
from fastconv.models.training.checks import check_seed
from fastconv.models.training.records import read_object, record

DIGITS = tuple("0123456789")
"""The classes' names for a run that doesn't name them."""


@dataclass(frozen=True)
class _Data:
    name: str
    shape: list[int]
    classes: list[str]
    mean: float
    deviation: float
    preprocessing: Preprocessing | None


@dataclass(frozen=True)
class _Config:
    network: str
    backend: str
    seed: int
    dataset: _Data
    source: Source | None


@dataclass(frozen=True)
class Facts:
    """Facts about a run; ``dataset`` is the data set's name, ``source`` where it is from, if known.

    ``mean`` and ``deviation`` are those of the training pixels on the scale 0..1. ``recorded`` says how a picture
    becomes an image, or is None: older runs didn't record it.
    """

    network: str
    backend: str
    seed: int
    dataset: str
    shape: ImageShape
    classes: tuple[str, ...]
    mean: float
    deviation: float
    source: Source | None = None
    recorded: Preprocessing | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """Returns how a picture becomes an image: the recorded rule, else that of
        :func:`fastconv.models.data.preprocessing.assumed`."""
        return self.recorded or assumed(self.source.dataset if self.source else self.dataset, self.shape)

    def build(self, backend: str) -> nn.Module:
        """Returns the network with random weights, on ``backend``, a text of :mod:`fastconv.models.backends`."""
        choice = parse(backend)
        model = networks.load(self.network).build(self.shape, len(self.classes), choice.rest)
        assign(model, choice)
        return model


def read_facts(path: Path) -> Facts:
    """Returns the facts in the configuration ``path``; raises ModelsError, which names the first that is missing or
    wrong."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelsError(f"{path}: can't be read ({error.strerror}); is its folder that of a run?") from None
    config = read_object(content, path)
    try:
        told = record(_Config, _with_defaults(config), others=True)
        check_seed(told.seed)
        data = told.dataset
        _check_images(data)
        channels, height, width = data.shape
        return Facts(
            told.network,
            told.backend,
            told.seed,
            data.name,
            (channels, height, width),
            tuple(data.classes),
            data.mean,
            data.deviation,
            told.source,
            data.preprocessing,
        )
    except (ValueError, ModelsError) as error:
        raise ModelsError(f"{path}: isn't the configuration of a run: {error}") from None


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` with what runs of earlier versions don't tell."""
    config = config | {"source": config.get("source") or None}
    if isinstance(config.get("dataset"), dict):
        config["dataset"] = {"classes": list(DIGITS), "preprocessing": None} | config["dataset"]
    return config


def _check_images(data: _Data) -> None:
    """Raises ValueError for images that can't be."""
    _check_size("dataset.shape", data.shape)
    if not data.classes:
        raise ValueError("dataset.classes is empty; it must name one class at least")
    if not math.isfinite(data.mean):
        raise ValueError(f"dataset.mean is {data.mean}; it must be finite")
    if not 0 < data.deviation < math.inf:
        raise ValueError(f"dataset.deviation is {data.deviation}; it must be finite and above 0")
    how = data.preprocessing
    if how is not None:
        _check_size("the size in dataset.preprocessing", [how.channels, how.height, how.width])
        if how.subject not in SUBJECTS:
            allowed = ", ".join(SUBJECTS)
            raise ValueError(f"dataset.preprocessing.subject is {short(how.subject)}; it must be one of: {allowed}")


def _check_size(name: str, sizes: Sequence[int]) -> None:
    """Channels, height and width."""
    if len(sizes) != 3 or min(sizes) < 1 or math.prod(sizes) > MOST_VALUES:
        allowed = f"it must be channels, height and width, 1 or more each, of {MOST_VALUES:,} values at most"
        raise ValueError(f"{name} is {short(sizes)}; {allowed}")
