"""fastconv's layers let torch compute in graphs that other programs are to read, and for channels_last images.

torch.jit.trace and the ONNX exporters know torch's operations only; the layers' torch classes compute the same from the
same parameters there. torch.compile, torch.export and torch.func know fastconv's operators and keep them.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch.fx import Proxy

from fastconv import registry
from fastconv.torch.internals import in_trace, in_transform
from fastconv.torch.memory import layout_of

Tensor = torch.Tensor


def computes_by_torch(layer: Any, input: Any, weight: Tensor | None = None) -> bool:
    """Returns True if torch's own layer is to compute, given fastconv's layer, its input and the weight in use.

    Layers without a backend of their own, where none was chosen either, leave float32 images in channels_last to torch.
    `auto` would copy such images to contiguous ones and back, which gives 0.63 to 0.77 of torch's speed in
    whole models. As in torch, a channels_last weight makes the call channels_last too.
    """
    if torch.compiler.is_compiling():
        return torch.onnx.is_in_onnx_export()
    if in_trace() or isinstance(input, Proxy):
        return True
    return (
        layer._fastconv_backend is None
        and isinstance(input, Tensor)
        and input.ndim == 4
        and input.dtype is torch.float32
        and input.is_cpu
        and not in_transform()
        and layout_of(*(x for x in (input, weight) if x is not None)) is torch.channels_last
        and registry.get_backend() == "auto"
    )


class Unscriptable:
    """A layer that torch.jit.script can't compile, and that says so."""

    def __prepare_scriptable__(self) -> NoReturn:
        """Raises RuntimeError: torch.jit.script calls this first."""
        raise RuntimeError("torch.jit.script can't compile fastconv's layers: call fastconv.torch.revert(model) first")
