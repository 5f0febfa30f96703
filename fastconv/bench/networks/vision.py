"""torchvision beside torch's CPU build.

torchvision's wheels are built for CUDA. Beside torch's CPU build its own library of operators isn't loaded, and its
Python code, which describes two of them to torch (`nms` and `qnms`), then fails to import since they don't exist. The
two are declared here, without code: networks that sort images into classes don't call them.
"""

from __future__ import annotations

import importlib.util
from typing import Any

PACKAGE = "torchvision"
INSTALL = "pip install --no-deps torchvision==0.28.0"
"""Without its dependencies: it asks for one release of torch, and pip would fetch that with CUDA."""

_OPERATORS = ("nms", "qnms")
_declared: list[Any] = []
"""A fragment's declarations last as long as the object."""


class NetworkError(Exception):
    """A network that can't be had; the message says what to do."""


def check() -> None:
    """Raise NetworkError, which says how to install it, where there is no torchvision."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise NetworkError(f"the networks of torchvision need it: {INSTALL} (or choose others by --networks)")


def models() -> Any:
    """The module `torchvision.models`; raises NetworkError where it is missing or can't be imported."""
    check()
    import torch

    if not _declared:
        fragment = torch.library.Library(PACKAGE, "FRAGMENT")
        _declared.append(fragment)
        for name in _OPERATORS:
            if not hasattr(torch.ops.torchvision, name):
                fragment.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        return importlib.import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:
        raise NetworkError(f"torchvision can't be imported ({error}); it must suit torch: {INSTALL}") from error
