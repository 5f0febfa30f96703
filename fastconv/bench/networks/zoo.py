"""The networks: torchvision's, fastconv's, and one's own, all in torch's own layers and with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fastconv.bench.networks import vision
from fastconv.bench.networks.vision import NetworkError
from fastconv.errors import ArgumentTypeError, ArgumentValueError
from fastconv.torch.command import load

VISION = (
    *("resnet18", "resnet50", "vgg16", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0"),
    *("squeezenet1_1", "googlenet", "densenet121", "shufflenet_v2_x1_0"),
)
"""torchvision's that run where none is named; any other classifier of its can be named."""

OWN = "models."
"""Before the name of a network of `fastconv.models`, which has an alexnet and a vgg too."""

IMAGE = (3, 224, 224)
CLASSES = 10
"""Number of classes: those of MNIST."""

SEED = 0
DROPPING = ("Dropout", "StochasticDepth")
"""In the names of layers that leave something out by chance: two contestants can't be compared with it."""

_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Subject:
    """A network by its name, and the shape of its input without the batch. An own one is called "package:function"."""

    name: str
    shape: tuple[int, ...]


def default() -> list[str]:
    """What runs where no network is named."""
    from fastconv.models import networks

    return [*VISION, *(OWN + name for name in networks.names())]


def subject(name: str) -> Subject:
    """The network called ``name``: one of torchvision's, or ``models.NAME``.

    Raises:
        NetworkError: there is none of that name, or no torchvision.
    """
    from fastconv.bench.training.worker import FORMS
    from fastconv.models import networks

    if name.startswith(OWN):
        own = name.removeprefix(OWN)
        if own not in networks.names():
            raise NetworkError(f"no network is called {name!r}; of fastconv's there are {', '.join(networks.names())}")
        form = FORMS.get(own, {})
        return Subject(name, (form.get("channels", 1), form.get("size", 28), form.get("size", 28)))
    if name not in vision.models().list_models():
        known = ", ".join([*VISION, "alexnet"])
        near = f"; did you mean {OWN + name}?" if name in networks.names() else ""
        raise NetworkError(f"torchvision has no network called {name!r}{near} (it has {known} and more)")
    return Subject(name, IMAGE)


def own(where: str, shape: tuple[int, ...]) -> Subject:
    """The network that the function ``where`` ("package.module:function") makes, for inputs of ``shape``.

    Raises:
        NetworkError: no such function, or it makes no module.
    """
    made = Subject(where, shape)
    build(made)
    return made


def build(subject: Subject) -> nn.Module:
    """The module, with weights that the seed alone decides, without dropout.

    Raises:
        NetworkError: as `subject` and `own`.
    """
    torch.manual_seed(SEED)
    model = _built(subject)
    layers: Any = model.modules()
    for layer in layers:
        if any(word in type(layer).__name__ for word in DROPPING) and isinstance(getattr(layer, "p", None), float):
            layer.p = 0.0
    return model


def calibrate(model: nn.Module, x: torch.Tensor) -> None:
    """Let batch normalisation know the mean and variance of what comes by for ``x``.

    With the statistics that it begins with, a deep network's values would vanish or grow beyond bounds, and what comes
    out would be its last bias alone.
    """
    normal = [layer for layer in model.modules() if isinstance(layer, _NORMALISATIONS)]
    momenta = [layer.momentum for layer in normal]
    for layer in normal:
        layer.momentum = None
    if normal:
        with torch.no_grad():
            model.train()(x)
    for layer, momentum in zip(normal, momenta, strict=True):
        layer.momentum = momentum


def _built(subject: Subject) -> nn.Module:
    from fastconv.models import networks
    from fastconv.models.plain import plain

    if ":" in subject.name:
        return plain(_from_function(subject.name))
    if subject.name.startswith(OWN):
        shape = (subject.shape[0], subject.shape[1], subject.shape[2])
        return plain(networks.load(subject.name.removeprefix(OWN)).build(shape, CLASSES, "torch"))
    # GoogLeNet's own initial weights take half a minute of SciPy's truncated normal distribution.
    more = {"init_weights": False} if subject.name in ("googlenet", "inception_v3") else {}
    model: nn.Module = vision.models().get_model(subject.name, weights=None, **more)
    return model


def _from_function(where: str) -> nn.Module:
    try:
        return load(where)
    except (ArgumentTypeError, ArgumentValueError) as error:
        raise NetworkError(f"--{error}") from error
