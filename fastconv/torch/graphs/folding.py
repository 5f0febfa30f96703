"""Batch normalisation with fixed statistics, folded into the weight and the bias of the convolution before it.

    y = (w * x + b - mean) * scale + beta,  scale = gamma / sqrt(var + eps)
      = (w scale) * x + (b - mean) scale + beta

The folded weight is kept from call to call for as long as nothing that it was made of has changed. torch counts the
changes of a tensor by its own functions: in-place operations, optimizers, load_state_dict. It counts neither those
through ``.data`` or a NumPy array, nor those of running statistics. So vectors are compared whole, and a weight by
some elements, at which every change of a whole weight shows; a change of single elements through ``.data`` may not.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from fastconv.torch.chains import version

Tensor = torch.Tensor

_COMPARED = 61
"""Number of elements of a weight that are compared. A prime: a step through the weight meets all places of a filter."""

_SMALLEST = 2.0**-64
"""Smallest size of a factor other than 0: smaller ones could make weights that float32 has fewer digits for."""


class Norm(NamedTuple):
    """The tensors of a batch normalisation with fixed statistics."""

    mean: Tensor
    var: Tensor
    gamma: Tensor | None
    beta: Tensor | None


class Folding:
    """A convolution's weight and bias with a batch normalisation folded in, made anew when one of them changes."""

    def __init__(self, eps: float) -> None:
        self._eps = eps
        self._kept: tuple[list[_Watch | None], tuple[Tensor, Tensor] | None] | None = None

    def parameters(self, w: Tensor, b: Tensor | None, norm: Norm) -> tuple[Tensor, Tensor] | None:
        """Returns the folded weight and bias, or None where normalising the convolution's results is the only way.

        That is so for factors that aren't finite, whose results folded weights don't give, and for tensors whose
        changes can't be seen.
        """
        sources = (w, b, *norm)
        kept = self._kept
        if kept is None or not all(map(_is_same, kept[0], sources)):
            if not all(source is None or _is_watched(source) for source in sources):
                return None
            watches = [None if source is None else _Watch(source, whole=source is not w) for source in sources]
            kept = self._kept = watches, _folded(w, b, norm, self._eps)
        return kept[1]


@torch.inference_mode(False)
@torch.no_grad()
def _folded(w: Tensor, b: Tensor | None, norm: Norm, eps: float) -> tuple[Tensor, Tensor] | None:
    scale = (norm.var.double() + eps).rsqrt()
    if norm.gamma is not None:
        scale *= norm.gamma
    shift = -norm.mean * scale if b is None else (b.double() - norm.mean) * scale
    if norm.beta is not None:
        shift += norm.beta
    weight, bias = w.detach() * scale.to(w.dtype)[:, None, None, None], shift.to(w.dtype)
    sizes = scale.abs()
    is_safe = bool(((sizes >= _SMALLEST) | (sizes == 0)).all())
    return (weight, bias) if is_safe and bool(weight.isfinite().all()) and bool(bias.isfinite().all()) else None


class _Watch:
    """Tells whether a tensor still has the elements that it had when the watch was made.

    It keeps the tensor's memory, so that no other tensor can come to lie at the same address.
    """

    def __init__(self, x: Tensor, *, whole: bool) -> None:
        flat = x.detach().as_strided((x.numel(),), (1,)).numpy()
        self._elements = flat if whole else flat[:: max(1, x.numel() // _COMPARED)]
        self._before = self._elements.tobytes()
        self._count = version(x)
        # No reference, weak or not: torch.utils.swap_tensors refuses tensors that have one.
        self._of = id(x)
        self._form = x.data_ptr(), x.shape, x.stride(), x.dtype

    def is_same(self, x: Tensor) -> bool:
        return (
            id(x) == self._of
            and version(x) == self._count
            and (x.data_ptr(), x.shape, x.stride(), x.dtype) == self._form
            and self._elements.tobytes() == self._before
        )


def _is_same(watch: _Watch | None, x: Tensor | None) -> bool:
    return x is None if watch is None else x is not None and watch.is_same(x)


def _is_watched(x: Tensor) -> bool:
    """Returns True if a tensor's changes can be seen: torch counts none of an inference tensor."""
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and x.is_cpu
        and x.dtype in (torch.float32, torch.float64)
        and not x.is_inference()
        and not x.is_neg()
        and (x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)))
    )
