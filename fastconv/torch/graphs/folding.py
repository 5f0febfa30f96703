"""Batch normalisation with fixed statistics, folded into the weight and the bias of the convolution before it.

    y = (w * x + b - mean) * scale + beta,  scale = gamma / sqrt(var + eps)
      = (w scale) * x + (b - mean) scale + beta

The folded weight is kept from call to call for as long as nothing that it was made of has changed. torch counts the
changes of a tensor by its own functions: in-place operations, optimizers, load_state_dict. It counts neither those
through ``.data`` or a NumPy array, nor those of running statistics. So vectors are compared whole, and a weight by
some elements, at which every change of a whole weight shows; a change of single elements through ``.data`` may not.
"""

from __future__ import annotations

import torch

from fastconv.torch.chains import version

Tensor = torch.Tensor

_COMPARED = 61
"""Number of elements of a weight that are compared. A prime: a step through the weight meets all places of a filter."""

_SMALLEST = 2.0**-64
"""Smallest size of a factor other than 0: smaller ones could make weights that float32 has fewer digits for."""


Sources = tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor | None, Tensor | None]
"""A convolution's weight and bias, and a batch normalisation's mean, variance, gamma and beta."""

Folded = tuple[Tensor, Tensor]
"""A weight and a bias."""


class Folding:
    """A convolution's weight and bias with a batch normalisation folded in, made anew when one of them changes."""

    def __init__(self, eps: float) -> None:
        self._eps = eps
        self._kept: tuple[_Watch, Folded | None] | None = None

    def parameters(self, sources: Sources) -> Folded | None:
        """Returns the folded weight and bias, or None where normalising the convolution's results is the only way.

        That is so for factors that aren't finite, whose results folded weights don't give, and for tensors whose
        changes can't be seen. The same pair is returned until something changes.
        """
        kept = self._kept
        if kept is None or not kept[0].is_same(sources):
            if not all(source is None or _is_watched(source) for source in sources):
                return None
            kept = self._kept = _Watch(sources), _folded(*sources, self._eps)
        return kept[1]


@torch.inference_mode(False)
@torch.no_grad()
def _folded(
    w: Tensor, b: Tensor | None, mean: Tensor, var: Tensor, gamma: Tensor | None, beta: Tensor | None, eps: float
) -> Folded | None:
    scale = (var.double() + eps).rsqrt()
    if gamma is not None:
        scale *= gamma
    shift = -mean * scale if b is None else (b.double() - mean) * scale
    if beta is not None:
        shift += beta
    weight, bias = w.detach() * scale.to(w.dtype)[:, None, None, None], shift.to(w.dtype)
    sizes = scale.abs()
    is_safe = bool(((sizes >= _SMALLEST) | (sizes == 0)).all())
    return (weight, bias) if is_safe and bool(weight.isfinite().all()) and bool(bias.isfinite().all()) else None


class _Watch:
    """Tells whether tensors still have the elements that they had when the watch was made.

    It keeps their memory, so that no other tensor can come to lie at the same address. Their shapes, strides and
    data types are what torch.compile looks at before each call.
    """

    def __init__(self, sources: Sources) -> None:
        flat = [x.detach().as_strided((x.numel(),), (1,)).numpy() for x in sources if x is not None]
        self._elements = [flat[0][:: max(1, flat[0].size // _COMPARED)], *flat[1:]]
        self._before = self._contents()
        # By number: torch.utils.swap_tensors refuses tensors that something refers to, even weakly.
        self._who = _addresses(sources)
        self._count = version(sources[0])

    def is_same(self, sources: Sources) -> bool:
        return (
            _addresses(sources) == self._who and version(sources[0]) == self._count and self._contents() == self._before
        )

    def _contents(self) -> list[bytes]:
        return [each.tobytes() for each in self._elements]


def _addresses(sources: Sources) -> list[int]:
    return [number for x in sources for number in ((0, 0) if x is None else (id(x), x.data_ptr()))]


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
