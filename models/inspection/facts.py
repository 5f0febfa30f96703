"""The facts that a run's configuration states, checked: nothing in a run's folder is trusted."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from models import networks
from models.backends import assign, parse
from models.data.preprocessing import SUBJECTS, Preprocessing, assumed
from models.data.source import Source
from models.errors import ModelsError
from models.recipes import MOST_VALUES, ImageShape
from models.training.records import record

DIGITS = tuple("0123456789")
"""The classes' names for a run that doesn't name them."""


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
        :func:`models.data.preprocessing.assumed`."""
        return self.recorded or assumed(self.source.dataset if self.source else self.dataset, self.shape)

    def build(self, backend: str) -> nn.Module:
        """Returns the network with random weights, on ``backend``, a text of :mod:`models.backends`."""
        choice = parse(backend)
        model = networks.load(self.network).build(self.shape, len(self.classes), choice.rest)
        assign(model, choice)
        return model


def read_facts(path: Path) -> Facts:
    """Returns the facts in the configuration ``path``; raises ModelsError, which names the first that is missing or
    wrong."""
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelsError(f"{path}: can't be read ({error.strerror}); is its folder that of a run?") from None
    except (ValueError, RecursionError):
        raise ModelsError(f"{path}: isn't JSON; is it damaged, or something else's?") from None
    try:
        data = config["dataset"]
        channels, height, width = (_number(size, 1) for size in data["shape"])
        classes = tuple(_text(name) for name in data.get("classes", DIGITS))
        mean, deviation = float(data["mean"]), float(data["deviation"])
        if not (
            channels * height * width <= MOST_VALUES and classes and math.isfinite(mean) and 0 < deviation < math.inf
        ):
            raise ValueError
        return Facts(
            _text(config["network"]),
            _text(config["backend"]),
            _number(config["seed"], 0),
            _text(data["name"]),
            (channels, height, width),
            classes,
            mean,
            deviation,
            record(Source, config["source"]) if config.get("source") else None,
            _preprocessing(data["preprocessing"]) if data.get("preprocessing") else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else "values that can't be"
        raise ModelsError(f"{path}: isn't the configuration of a run, it has {what}") from None


def _preprocessing(value: Any) -> Preprocessing:
    how = record(Preprocessing, value)
    for size in (how.channels, how.height, how.width):
        _number(size, 1)
    if how.subject not in SUBJECTS or how.channels * how.height * how.width > MOST_VALUES:
        raise ValueError
    return how


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any, least: int) -> int:
    if type(value) is not int or not least <= value < 2**32:
        raise ValueError
    return value
