"""The data types of a training: that of weights and images, and that in which layers compute."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.amp import GradScaler

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def weight_type(precision: str) -> torch.dtype:
    """Returns the data type of weights and images: float64, or else float32."""
    return torch.float64 if precision == "float64" else torch.float32


def computing(precision: str, device: str) -> AbstractContextManager[object]:
    """Returns the context in which a forward pass of ``precision`` is made: torch's autocast for the 16-bit types."""
    if precision not in _AUTOCAST:
        return nullcontext()
    return torch.autocast(device, _AUTOCAST[precision])


def scaler(precision: str, device: str) -> GradScaler | None:
    """Returns the scaler of float16's loss, whose small gradients would be zero; steps that overflow are left out.

    P. Micikevicius et al., "Mixed precision training", 2018. bfloat16 has float32's range and needs none.
    """
    return GradScaler(device) if precision == "float16" else None
