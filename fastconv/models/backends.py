"""One text says which backend computes which layer of a network, such as ``numba,conv2=torch``.

A bare name is the backend of every layer that is not named, ``layer=backend`` that of one layer, named as
``fastconv models summary`` does. A layer that contains others stands for all of them, unless they are named too. A
backend forced to one algorithm, such as ``numba:gemm``, is a backend like any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

import fastconv
from fastconv.models.errors import ModelsError
from fastconv.torch.modules import Layer

LONGEST_LABEL = 60


@dataclass(frozen=True)
class Choice:
    """The backend of all layers but those in ``layers``, which maps names of layers to their own."""

    rest: str
    layers: dict[str, str]

    def __str__(self) -> str:
        return ",".join([self.rest, *(f"{layer}={backend}" for layer, backend in self.layers.items())])


def parse(text: str | None) -> Choice:
    """Returns the choice that ``text`` describes; what it leaves open becomes ``FASTCONV_BACKEND`` or else ``auto``.

    Raises ModelsError for a text that is no such choice, a layer or a rest that is chosen for twice, and what
    :func:`check_backend` raises.
    """
    rest: list[str] = []
    layers: dict[str, str] = {}
    for part in text.split(",") if text is not None else ():
        layer, equals, backend = (word.strip() for word in part.rpartition("="))
        check_backend(backend)
        if not equals:
            rest.append(backend)
        elif not layer:
            raise ModelsError(
                f"the backend is {text!r}; a layer's own is written as layer=backend, such as conv1=numba"
            )
        elif layer in layers:
            raise ModelsError(f"the backend is {text!r}, which chooses for {layer} twice; choose once")
        else:
            layers[layer] = backend
    if len(rest) > 1:
        raise ModelsError(f"the backend is {text!r}; only one, that of all other layers, stands without layer=")
    if not rest:
        rest.append(fastconv.get_backend())
        check_backend(rest[0])
    return Choice(rest[0], layers)


def check_backend(name: str) -> None:
    """Raises ModelsError for a backend that isn't known, with those that are, or can't run here, with why."""
    base, colon, algorithm = name.partition(":")
    known = {backend.name: backend for backend in fastconv.backends()}
    if base not in known:
        raise ModelsError(f"no backend is called {base!r}; the backends are {', '.join(known)}")
    backend = known[base]
    if not backend.available:
        raise ModelsError(f"backend {base} can't run here: {backend.reason}")
    if colon and algorithm not in backend.options:
        others = f"its algorithms are {', '.join(backend.options)}" if backend.options else f"it has none but {base}"
        raise ModelsError(f"backend {base} has no algorithm called {algorithm!r}; {others}")


def assign(model: nn.Module, choice: Choice) -> None:
    """Give each of the ``model``'s convolutions and poolings its backend.

    Raises ModelsError, which lists the layers that have a backend, for the name of another.
    """
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, Layer)}
    for layer in layers.values():
        layer.backend = choice.rest
    for name in sorted(choice.layers, key=len):  # what is inside a layer has the longer name, and the last word
        inside = [layer for path, layer in layers.items() if f"{path}.".startswith(f"{name}.")]
        if not inside:
            has = f"those with a backend are {', '.join(layers)}" if layers else "the network has none with a backend"
            raise ModelsError(f"no layer with a backend is called {name!r}; {has}")
        for layer in inside:
            layer.backend = choice.layers[name]


def label(text: str) -> str:
    """Returns ``text`` in a form that can be part of a file's name on any system."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text)[:LONGEST_LABEL].strip("-")
