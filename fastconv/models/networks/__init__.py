"""The networks: each file here is one, and its ``NETWORK`` says how to build and train it.

A new network is a new file; its name on the command line is the file's.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from fastconv.models.errors import ModelsError
from fastconv.models.recipes import Network


def names() -> list[str]:
    """Returns the names of the networks, sorted; loads none of them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Network:
    """Returns the network called ``name``; raises ModelsError, which lists the known names, if there is none."""
    if name not in names():
        raise ModelsError(f"no network is called {name!r}; the networks are {', '.join(names())}")
    network: Network = import_module(f"{__name__}.{name}").NETWORK
    return network
