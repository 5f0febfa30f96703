"""When fastconv's layers leave the computation to torch: where a graph is recorded that other programs are to read.

torch.jit.trace and the ONNX exporters know torch's operations only, and torch.vmap has no rule for fastconv's. The
layers' torch classes compute the same from the same parameters there. torch.compile and torch.export know fastconv's
operators and keep them.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.fx import Proxy


def leave_to_torch(input: Any) -> bool:
    """Whether torch's own layer is to compute, given the layer's input."""
    if torch.compiler.is_compiling():
        return torch.onnx.is_in_onnx_export()
    return (
        torch._C._get_tracing_state() is not None
        or (torch._C._are_functorch_transforms_active() and _is_under_vmap())
        or isinstance(input, Proxy)
    )


def _is_under_vmap() -> bool:
    return any(level.key() == TransformType.Vmap for level in get_interpreter_stack() or ())


def refuse_to_be_scripted(_: Any) -> NoReturn:
    """Raises RuntimeError: torch.jit.script calls this as ``__prepare_scriptable__``."""
    raise RuntimeError("torch.jit.script can't compile fastconv's layers: call fastconv.torch.revert(model) first")
