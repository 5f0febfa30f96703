"""Batch normalisation with fixed statistics, folded into the weight and the bias of the convolution before it.

    y = (w * x + b - mean) * scale + beta,  scale = gamma / sqrt(var + eps)
      = (w scale) * x + (b - mean) scale + beta

The folded weight is kept from call to call for as long as nothing that it was made of has changed. torch counts the
changes of a tensor by its own functions: in-place operations, optimizers, load_state_dict. It counts neither those
through ``.data`` or a NumPy array, nor those of running statistics. So vectors are compared whole, and a weight by
some elements, at which every change of a whole weight shows; a change of single elements through ``.data`` may not.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from fastconv.torch.interface import held_tensors
from fastconv.torch.memory import versions

Tensor = torch.Tensor

_COMPARED = 17
"""Number of elements of a weight that are compared. A prime: a step through the weight meets all places of a filter."""

_SMALLEST = 2.0**-64
"""Smallest size of a factor other than 0: smaller ones could make weights that float32 has fewer digits for."""


_ADDRESS = Tensor.data_ptr

EACH = 6
"""Number of tensors that a fold reads: a convolution's weight and bias, and a batch normalisation's mean, variance,
gamma and beta."""


class Folding:
    """Weights and biases of a step's convolutions, each with its normalisation folded in; made anew on any change."""

    def __init__(self, epsilons: Sequence[float]) -> None:
        """Fold as many normalisations as there are ``epsilons``."""
        self._epsilons = tuple(epsilons)
        self._kept: tuple[torch.dtype, Watch, list[Tensor] | None] | None = None

    def parameters(self, dtype: torch.dtype, sources: Sequence[Tensor | None]) -> list[Tensor] | None:
        """Returns the folded weight and bias of each convolution, or None where normalising is the only way.

        That is so for factors that aren't finite, whose results folded weights don't give, for weights of another type
        than the images' ``dtype``, and for tensors whose changes can't be seen. ``sources`` has `EACH` tensors for each
        convolution. The same list is returned until something changes.
        """
        kept, there = self._kept, [source for source in sources if source is not None]
        if kept is None or kept[0] is not dtype or not kept[1].is_same(there):
            if not all(map(is_watched, there)):
                return None
            kept = self._kept = dtype, Watch(there), self._made(dtype, sources)
        return kept[2]

    def _made(self, dtype: torch.dtype, sources: Sequence[Tensor | None]) -> list[Tensor] | None:
        found: list[Tensor] = []
        for at, eps in enumerate(self._epsilons):
            of: Any = sources[at * EACH : (at + 1) * EACH]
            made = folded(of, eps) if of[0].dtype is dtype else None
            if made is None:
                return None
            found += made
        return found


@torch.inference_mode(False)
@torch.no_grad()
def folded(of: Sequence[Any], eps: float) -> tuple[Tensor, Tensor] | None:
    """Returns the folded weight and bias, or None if they aren't finite or would lose digits.

    ``of`` are the `EACH` tensors of a fold.
    """
    w, b, *_ = of
    scale, shift = _factors(of[2:], b, eps)
    weight, bias = w.detach() * scale.to(w.dtype)[:, None, None, None], shift.to(w.dtype)
    sizes = scale.abs()
    is_safe = bool(((sizes >= _SMALLEST) | (sizes == 0)).all())
    return (weight, bias) if is_safe and bool(weight.isfinite().all()) and bool(bias.isfinite().all()) else None


@torch.inference_mode(False)
@torch.no_grad()
def scale_and_shift(of: Sequence[Any], eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
    """Returns what a normalisation by mean, variance, gamma and beta multiplies by and adds; None if not finite."""
    scale, shift = (each.to(dtype) for each in _factors(of, None, eps))
    return (scale, shift) if bool(scale.isfinite().all()) and bool(shift.isfinite().all()) else None


def _factors(of: Sequence[Any], b: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """Returns in float64 what a normalisation multiplies by and adds, behind a bias ``b``."""
    mean, var, gamma, beta = of
    scale = (var.double() + eps).rsqrt()
    if gamma is not None:
        scale *= gamma
    shift = -mean * scale if b is None else (b.double() - mean) * scale
    if beta is not None:
        shift += beta
    return scale, shift


def picker(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Returns a function that gives the elements of a sequence at these places, 200 of them in 2 us."""
    if len(places) < 2:
        return lambda values: tuple([values[place] for place in places])
    return operator.itemgetter(*places)


class Watch:
    """Tells whether tensors still have the elements that they had when the watch was made.

    It keeps their memory, so that no other tensor can come to lie at the same address. Their shapes, strides and
    data types are what torch.compile looks at before each call. A look takes 4 us for three convolutions.
    """

    def __init__(self, sources: Sequence[Tensor], places: Sequence[int] = ()) -> None:
        """Watch tensors, those of more than one axis by some of their elements and their counts of changes.

        ``places`` are the tensors' places among the operands of a call, for compiled code that looks there.
        """
        self._weights = picker([number for number, x in enumerate(sources) if x.ndim > 1])
        self.elements: list[np.ndarray] = []
        """The elements that are compared, of each tensor: views of its memory."""
        kinds: dict[Any, list[np.ndarray]] = {}
        for x in sources:
            elements = x.detach().as_strided((x.numel(),), (1,)).numpy()
            step = max(1, elements.size // _COMPARED) if x.ndim > 1 else 1
            self.elements.append(elements[::step])
            kinds.setdefault(elements.dtype, []).append(elements[::step])
        self._alike = list(kinds.values())
        self._before = self._contents()
        # By number: torch.utils.swap_tensors refuses tensors that something refers to, even weakly.
        self._who = self._identity(sources)
        self.held = held_tensors(sources, places) if places else None
        """What compiled code must know to do the work of `are_those`; None where it can't."""

    def is_same(self, sources: Sequence[Tensor]) -> bool:
        return self.are_those(sources) and self._contents() == self._before

    def are_those(self, sources: Sequence[Tensor]) -> bool:
        """Returns True if `is_same` but for the elements, at which `elements` lets others look."""
        return self._identity(sources) == self._who

    def _identity(self, sources: Sequence[Tensor]) -> tuple[list[int], ...]:
        # Vectors are compared whole, so their address says all. A weight has a count of changes, which is the tensor's.
        weights = self._weights(sources)
        return list(map(_ADDRESS, sources)), list(map(id, weights)), versions(weights)

    def _contents(self) -> list[bytes]:
        return [np.concatenate(each).tobytes() for each in self._alike]


def is_watched(x: Tensor) -> bool:
    """Returns True if a tensor's changes can be seen: torch counts none of an inference tensor."""
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and x.is_cpu
        and x.dtype in (torch.float32, torch.float64)
        and not x.is_inference()
        and not x.is_neg()
        and (x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)))
    )
