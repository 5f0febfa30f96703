"""Drop-in layers: subclasses of torch's with one extra argument, ``backend``.

Parameters, state_dict and initialisation are torch's, the repr adds the backend; the computation goes through fastconv.
Layers without a backend of their own leave channels_last images to torch. Annotations are objects here, not strings,
because torch.fx writes those of a traced layer's ``forward`` into its code.
"""

from typing import Any

import torch
import torch.nn.functional
from torch import nn
from torch.fx import Proxy

from fastconv import registry
from fastconv.errors import ArgumentTypeError
from fastconv.interfaces import require
from fastconv.torch import functional as F
from fastconv.torch.internals import output_padding, padding_sides
from fastconv.torch.stand_in import StandIn
from fastconv.torch.tracing import Unscriptable, computes_by_torch

Tensor = torch.Tensor


require("torch", "2.13.0", (nn.Conv1d, "_conv_forward"), (nn.Conv2d, "_conv_forward"))
COMPUTING = ("forward", "_conv_forward", "__iter__")
"""The methods that torch's layers compute by; an nn.Sequential goes through its layers by the last."""


class Layer(Unscriptable, nn.Module, metaclass=StandIn):
    """The base of fastconv's layers: it has a backend's name, or None for the choice in force at each call.

    Raises UnknownBackendError or BackendUnavailableError for a backend that doesn't exist or can't run here.
    """

    _fastconv_backend: str | None = None

    def __init__(self, *args: Any, backend: str | None = None, **kwargs: Any) -> None:
        if backend is not None:
            registry.resolve(backend)
        super().__init__(*args, **kwargs)
        self._fastconv_backend = backend

    @property
    def backend(self) -> Any:
        """Returns the backend's name; a converted layer that had an attribute of this name returns that attribute."""
        return vars(self).get("backend", self._fastconv_backend)

    @backend.setter
    def backend(self, value: Any) -> None:
        own = vars(self)
        own["backend" if "backend" in own else "_fastconv_backend"] = value

    @property
    def qconfig(self) -> Any:
        """Returns how torch is to quantise the layer; only None can be set, for not at all."""
        try:
            return vars(self)["qconfig"]
        except KeyError:
            raise AttributeError("qconfig") from None

    @qconfig.setter
    def qconfig(self, value: Any) -> None:
        # torch looks layers up by their exact class, so that it would leave these out without a word.
        if value is not None:
            raise RuntimeError("torch can't quantise fastconv's layers: call fastconv.torch.revert(model) first")
        vars(self)["qconfig"] = None

    @qconfig.deleter
    def qconfig(self) -> None:
        vars(self).pop("qconfig", None)

    def forward(self, input: Tensor) -> Any:
        return self._result(input)

    def _result(self, input: Tensor, *further: Any) -> Any:
        """Returns what ``forward`` does: a node while torch.fx traces, torch's result in graphs for other programs."""
        if isinstance(input, Proxy) and input.tracer.root is not self:
            # The layer is one node, as those of torch.nn are.
            path = input.tracer.path_of_module(self)
            return input.tracer.create_proxy("call_module", path, (input, *further), {})
        if not isinstance(input, Tensor) and not hasattr(input, "__torch_function__"):
            raise ArgumentTypeError("input", type(input).__name__, "a layer takes a torch.Tensor")
        if self._is_left_to_torch(input):
            return super().forward(input, *further)
        return self._compute(input, *further)

    def _is_left_to_torch(self, input: Tensor) -> bool:
        return computes_by_torch(self, input, getattr(self, "weight", None))

    def _compute(self, input: Tensor) -> Any:
        raise NotImplementedError

    def extra_repr(self) -> str:
        name = self._fastconv_backend
        own = f"{registry.get_backend()!r} (default)" if name is None else repr(name)
        return ", ".join(part for part in (super().extra_repr(), f"backend={own}") if part)


class _Convolution(Layer):
    """A layer with parameters, whose device and data type can be asked for by name."""

    def __init__(self, *args: Any, backend: str | None = None, device: Any = None, dtype: Any = None, **kwargs: Any):
        # They stand in the signature for torch.nn.utils.skip_init, which reads it.
        where = {name: value for name, value in (("device", device), ("dtype", dtype)) if value is not None}
        super().__init__(*args, backend=backend, **where, **kwargs)


def padded(layer: Any, input: Tensor) -> tuple[Tensor, Any]:
    """Returns the input and the padding that is still to do: torch does "reflect", "replicate" and "circular" here."""
    if layer.padding_mode == "zeros":
        return input, layer.padding
    return torch.nn.functional.pad(input, padding_sides(layer), mode=layer.padding_mode), 0


class _Plain(_Convolution):
    """A convolution, whose ``_conv_forward`` tells which weight is in use and so decides who computes."""

    def _is_left_to_torch(self, input: Tensor) -> bool:
        return False

    def _compute(self, input: Tensor) -> Tensor:
        layer: Any = self
        result: Tensor = layer._conv_forward(input, layer.weight, layer.bias)
        return result


class Conv1d(_Plain, nn.Conv1d, of=nn.Conv1d):
    """`torch.nn.Conv1d` with a ``backend``; input (N, C, L) or (C, L)."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if computes_by_torch(self, input, weight):
            return super()._conv_forward(input, weight, bias)
        image, padding = padded(self, input)
        how = self.stride, padding, self.dilation, self.groups
        return F.conv1d(image, weight, bias, *how, backend=self._fastconv_backend)


class Conv2d(_Plain, nn.Conv2d, of=nn.Conv2d):
    """`torch.nn.Conv2d` with a ``backend``; input (N, C, H, W) or (C, H, W)."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if computes_by_torch(self, input, weight):
            return self._followed(super()._conv_forward(input, weight, bias))
        image, padding = padded(self, input)
        return self._convolved(image, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _convolved(self, image: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        """Returns the layer's result, computed by fastconv; ``how`` is stride, padding, dilation and groups."""
        return F.conv2d(image, weight, bias, *how, backend=self._fastconv_backend)

    def _followed(self, y: Tensor) -> Tensor:
        """Returns the layer's result, computed by torch, from that of the convolution alone."""
        return y


class _Transposed(_Convolution):
    """A transposed convolution, which may be told the size of its result."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return self._result(input, output_size)

    def _compute(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        layer: Any = self
        extra = output_padding(layer, input, output_size)
        function = F.conv_transpose1d if len(layer.kernel_size) == 1 else F.conv_transpose2d
        how = layer.stride, layer.padding, extra, layer.groups, layer.dilation
        return function(input, layer.weight, layer.bias, *how, backend=self._fastconv_backend)


class ConvTranspose1d(_Transposed, nn.ConvTranspose1d, of=nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` with a ``backend``; input (N, K, Q) or (K, Q)."""


class ConvTranspose2d(_Transposed, nn.ConvTranspose2d, of=nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with a ``backend``; input (N, K, P, Q) or (K, P, Q)."""


def _max_pooled(layer: Any, function: Any, input: Tensor) -> Any:
    return function(
        input,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.ceil_mode,
        layer.return_indices,
        backend=layer._fastconv_backend,
    )


class MaxPool1d(Layer, nn.MaxPool1d, of=nn.MaxPool1d):
    """`torch.nn.MaxPool1d` with a ``backend``; input (N, C, L) or (C, L)."""

    def _compute(self, input: Tensor) -> Any:
        return _max_pooled(self, F.max_pool1d, input)


class MaxPool2d(Layer, nn.MaxPool2d, of=nn.MaxPool2d):
    """`torch.nn.MaxPool2d` with a ``backend``; input (N, C, H, W) or (C, H, W)."""

    def _compute(self, input: Tensor) -> Any:
        return _max_pooled(self, F.max_pool2d, input)


class AvgPool1d(Layer, nn.AvgPool1d, of=nn.AvgPool1d):
    """`torch.nn.AvgPool1d` with a ``backend``; input (N, C, L) or (C, L)."""

    def _compute(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            backend=self._fastconv_backend,
        )


class AvgPool2d(Layer, nn.AvgPool2d, of=nn.AvgPool2d):
    """`torch.nn.AvgPool2d` with a ``backend``; input (N, C, H, W) or (C, H, W)."""

    def _compute(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
            backend=self._fastconv_backend,
        )


class AdaptiveAvgPool2d(Layer, nn.AdaptiveAvgPool2d, of=nn.AdaptiveAvgPool2d):
    """`torch.nn.AdaptiveAvgPool2d` with a ``backend``; input (N, C, H, W) or (C, H, W)."""

    def _compute(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size, backend=self._fastconv_backend)


class AdaptiveMaxPool2d(Layer, nn.AdaptiveMaxPool2d, of=nn.AdaptiveMaxPool2d):
    """`torch.nn.AdaptiveMaxPool2d` with a ``backend``; input (N, C, H, W) or (C, H, W)."""

    def _compute(self, input: Tensor) -> Any:
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices, backend=self._fastconv_backend)
