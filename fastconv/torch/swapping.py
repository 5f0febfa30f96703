"""The swap of a layer's class for fastconv's, and back.

A layer changes its class in place, so the object, its Parameters, buffers, hooks and mode stay what they were:
optimizers and state_dicts go on working, and other models that use the same classes aren't touched. Layers are
swapped, calls of torch.nn.functional inside a model's own ``forward`` are not. A converted layer is still an instance
of torch's class, and its own class is equal to that, so that tables by class know it; but ``type(layer) is nn.Conv2d``
no longer holds.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import cache
from typing import Any, ClassVar, SupportsIndex, TypeVar

from torch import nn
from torch.nn.utils import parametrize

from fastconv.errors import ArgumentTypeError
from fastconv.torch import modules
from fastconv.torch.modules import COMPUTING, Layer
from fastconv.torch.sequential import Sequential
from fastconv.torch.stand_in import StandIn

M = TypeVar("M", bound=nn.Module)

_COUNTERPARTS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: modules.Conv1d,
    nn.Conv2d: modules.Conv2d,
    nn.ConvTranspose1d: modules.ConvTranspose1d,
    nn.ConvTranspose2d: modules.ConvTranspose2d,
    nn.MaxPool1d: modules.MaxPool1d,
    nn.MaxPool2d: modules.MaxPool2d,
    nn.AvgPool1d: modules.AvgPool1d,
    nn.AvgPool2d: modules.AvgPool2d,
    nn.AdaptiveAvgPool2d: modules.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d: modules.AdaptiveMaxPool2d,
    nn.Sequential: Sequential,
}

_ORIGINAL = "_fastconv_original_class"
"""The attribute of a converted layer that keeps its class of before."""


def check_module(model: Any) -> None:
    """Refuse what isn't a torch.nn.Module, such as a list of layers, a class or a state_dict."""
    if not isinstance(model, nn.Module):
        given = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise ArgumentTypeError("model", given, "it must be a torch.nn.Module")


def computed(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Returns the modules that fastconv has a class for, of that class or not yet, with their names."""
    return [(name, layer) for name, layer in model.named_modules() if _is_swapped(layer)]


def swap(layers: Iterable[Any], backend: str | None) -> None:
    """Give layers, each of a class that has a counterpart, fastconv's class and the backend."""
    for layer in layers:
        if not is_own(layer):
            layer.__dict__[_ORIGINAL] = layer.__class__
            layer.__class__ = _counterpart(layer.__class__)
        if not isinstance(layer, Sequential):
            layer._fastconv_backend = backend


def is_converted(layer: nn.Module) -> bool:
    """Returns True if a layer had another class before it was converted."""
    return _ORIGINAL in vars(layer)


def is_own(layer: nn.Module) -> bool:
    """Returns True if a layer's class is one of fastconv's, whether it was made so or converted."""
    return isinstance(layer, (Layer, Sequential))


def revert(model: M) -> M:
    """Undo `convert`: every converted layer gets its old class back. Layers made as fastconv's stay.

    Args:
        model: a module that was converted, as a whole or in parts. It is changed in place.

    Returns:
        The model.

    Raises:
        RuntimeError: something else changed a layer's class since, such as a parametrisation that is to be removed
            first; then no layer has been changed.
        TypeError: no torch.nn.Module.
    """
    check_module(model)
    give_back(model.modules())
    return model


def give_back(layers: Iterable[nn.Module]) -> None:
    """Let the converted ones among layers have their old class."""
    restored = [(layer, _restored(layer, layer.__dict__[_ORIGINAL])) for layer in layers if is_converted(layer)]
    for layer, original in restored:
        layer.__class__ = original
        for name in (_ORIGINAL, "_fastconv_backend"):
            vars(layer).pop(name, None)


def by_torch(model: M) -> M:
    """Let torch compute all of a model, in place, fastconv's own layers too: the model to compare with."""
    theirs = {mine: base for base, mine in _COUNTERPARTS.items()}
    for layer in revert(model).modules():
        if type(layer) in theirs:
            layer.__class__ = theirs[type(layer)]
        elif isinstance(layer, Layer):
            layer._fastconv_backend = "torch"
    return model


def _is_swapped(layer: nn.Module) -> bool:
    """Returns True if a layer has a counterpart of fastconv's that would do what it does."""
    own = vars(layer)
    if any(method in own for method in COMPUTING) or own.get("qconfig") is not None:
        return False
    return _counterpart(layer.__class__) is not None  # type: ignore[arg-type]


def _restored(layer: nn.Module, original: type[nn.Module]) -> type[nn.Module]:
    """Returns the class to give back to a converted layer."""
    current = layer.__class__
    if current is _counterpart(original):  # type: ignore[arg-type]
        return original
    for base, converted in _COUNTERPARTS.items():
        if current is converted:  # a parametrisation that came before was removed since
            return base
    raise RuntimeError(f"model: a layer became a {current.__name__} after it was converted; undo that, then revert")


@cache
def _counterpart(cls: type[nn.Module]) -> type[nn.Module] | None:
    """Returns fastconv's class for layers of ``cls``, or None if it has none or ``cls`` computes in a way of its own.

    A subclass that inherits torch's computation, as parametrisations make it, keeps what it adds.
    """
    if issubclass(cls, (Layer, Sequential)):
        return cls
    for base, layer in _COUNTERPARTS.items():
        if cls is base:
            return layer
        if issubclass(cls, base) and all(
            getattr(cls, method, None) is getattr(base, method, None) for method in COMPUTING
        ):
            return _derived(cls, layer)
    return None


def _derived(cls: type[nn.Module], layer: type[nn.Module]) -> type[nn.Module]:
    if cls.__module__ == parametrize.__name__:
        # Made by torch for one layer, which removes a parametrisation by deleting its property from the class and
        # taking the first base: so it is made again, on top of fastconv's.
        return type(cls.__name__, (layer, *cls.__bases__), dict(vars(cls)))
    own: dict[str, Any] = {"__module__": cls.__module__, "_derived_from": cls}
    for name in ("backend", "qconfig"):
        if hasattr(cls, name):  # means something else there, and goes on doing so
            own[name] = inspect.getattr_static(cls, name)
    derived: Any = StandIn(cls.__name__, (layer, cls, _Derived), own, of=cls)
    return derived


class _Derived:
    """Lets layers of a class that was made on the fly be pickled: by the class that it was made from."""

    _derived_from: ClassVar[type[nn.Module]]

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return _blank, (self._derived_from,), self.__getstate__()


def _blank(cls: type[nn.Module]) -> nn.Module:
    """Returns a layer of the counterpart of ``cls``, to be filled in by unpickling."""
    counterpart = _counterpart(cls)  # type: ignore[arg-type]
    assert counterpart is not None
    return counterpart.__new__(counterpart)
