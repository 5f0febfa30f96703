"""`convert` swaps a torch model's convolutions and poolings for fastconv's, all or those that are faster so.

Layers are swapped in place (swapping.py); calls of torch.nn.functional inside a model's own ``forward`` are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from fastconv import registry
from fastconv.errors import ArgumentTypeError
from fastconv.torch.swapping import check_module, computed, give_back, is_converted, is_own, swap
from fastconv.torch.tune import faster

M = TypeVar("M", bound=nn.Module)


def convert(
    model: M,
    backend: str | None = None,
    filter: Callable[[str, nn.Module], bool] | None = None,
    *,
    fuse: bool = False,
    tune: Any = None,
) -> M:
    """Let a model's convolutions and poolings compute through fastconv.

    Args:
        model: any module, a single convolution too. It is changed in place.
        backend: one of `fastconv.backends`; None for the choice in force at each call. With None, and no choice made
            elsewhere, float32 images in channels_last on the CPU are left to torch, which is faster at them.
        filter: called with each layer's name in the model ("" for the model itself) and the layer; False leaves
            the layer alone.
        fuse: whether an nn.Sequential becomes a `Sequential`, whose layers run together where they can.
        tune: a batch to try the model on, as a tensor or as a tuple or dict of its arguments. Each layer, and each
            sequence that is fused, is then raced against torch's own, in training steps if the model is in training
            mode, else in forward passes. Those that are slower than torch's, or make the model slower, stay torch's or
            become so again. Times are kept in the user's cache folder; the logger "fastconv" tells them at INFO.

    Returns:
        The model. Layers that were converted before take the new backend. Layers that compute in a way of their own,
        by their class or by a ``forward`` set on the layer, are left alone, and so are layers that are prepared for
        quantisation.

    Raises:
        UnknownBackendError, BackendUnavailableError: no such backend, or it can't run here.
        ValueError: a lazy layer that doesn't have its parameters yet; then no layer has been changed.
        TypeError: no torch.nn.Module, or a filter that can't be called.
        TypeError, RuntimeError: a batch to tune on that the model doesn't take, a model that isn't on the CPU or can't
            be copied, as it is measured on copies; then no layer has been changed.
    """
    check_module(model)
    registry.resolve(backend)
    if filter is not None and not callable(filter):
        raise ArgumentTypeError("filter", repr(filter), "it must be a function of a layer's name and the layer")
    swapped = computed(model)
    sequences = [(name, layer) for name, layer in swapped if isinstance(layer, nn.Sequential) and fuse]
    chosen = [
        (name, layer)
        for name, layer in swapped
        if not isinstance(layer, nn.Sequential) and (filter is None or filter(name, layer))
    ]
    for _, layer in chosen:
        if isinstance(layer, LazyModuleMixin):
            raise ValueError(f"model: {layer} is lazy; run a batch through the model first, then convert it")
    layers = [*chosen, *sequences]
    if tune is not None:
        torchs = [(name, layer) for name, layer in layers if is_converted(layer) or not is_own(layer)]
        kept = faster(model, tune, backend, [name for name, _ in torchs])
        give_back(layer for name, layer in torchs if name not in kept)
        layers = [(name, layer) for name, layer in layers if name in kept or is_own(layer)]
    swap([layer for _, layer in layers], backend)
    return model
