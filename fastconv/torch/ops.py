"""The primitives as operators of `torch.library`, so that torch.compile, export and opcheck know them.

Each operator runs a backend's primitive on the tensors' own memory: on the CPU a NumPy backend reads and writes it
without a copy, and a backend that takes tensors gets them as they are. bfloat16 and float16 are computed in float32
and rounded once. Gradients are recorded outside (`fastconv.torch.autograd`), where no operator is differentiable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from fastconv import registry
from fastconv.adaptive_geometry import AdaptiveGeometry
from fastconv.arguments import (
    adaptive_geometry,
    conv_geometry,
    fold_geometry,
    image_dims,
    make_adaptive_geometry,
    make_conv_geometry,
    make_pool_geometry,
    pool_geometry,
    same_shape,
    unfold_geometry,
)
from fastconv.backends.base import INTEGERS, Backend, Geometry
from fastconv.errors import ArgumentError, ArgumentTypeError
from fastconv.geometry import ConvGeometry, ConvParameters, PoolGeometry, PoolParameters
from fastconv.torch import library
from fastconv.torch.memory import array_of, layout_of
from fastconv.torch.vmap import Rule, conv2d_input_rule, conv2d_rule, conv2d_weight_rule, image_rule

Tensor = torch.Tensor

HALVES = (torch.bfloat16, torch.float16)
_COMPUTED = (torch.float32, torch.float64)
_INTEGERS = tuple(getattr(torch, name) for name in INTEGERS)

OPEN = ""
"""A backend's name that stands for the choice in force when the operator runs."""

_CONV = "int[] stride, int[] padding, int[] dilation, int groups"
_POOL = "int[] kernel, int[] stride, int[] padding, int[] dilation, bool ceil_mode"
_AVERAGE = f"{_POOL}, bool count_include_pad, int? divisor_override"


class _Plan(NamedTuple):
    """The plan of an operator's call, made before anything is computed."""

    geometry: Geometry | None
    operands: tuple[Any, ...]
    """Operands of the backend's primitive; the first gives data type and device of the result."""
    shape: tuple[int, ...]
    layout: torch.memory_format
    others: tuple[tuple[tuple[int, ...], torch.dtype], ...] = ()
    """Shapes and types of further results."""


def check_indices(indices: Tensor, size: Sequence[int], lowest: int) -> None:
    """Refuse indices that aren't int64 or lie outside a plane of ``size``."""
    _check_index_type(indices)
    if indices.is_cuda and torch.cuda.is_current_stream_capturing():
        return  # to read them is to wait for the GPU, which a captured graph can't; kernels leave out foreign ones
    pixels = size[0] * size[1]
    if indices.numel():
        least, most = (int(bound) for bound in torch.aminmax(indices))
        if least < lowest or most >= pixels:
            allowed = f"they must be in a plane of {tuple(size)}: below {pixels}, not negative"
            raise ArgumentError("indices", most if most >= pixels else least, allowed)


def _check_index_type(indices: Tensor, *_: Any) -> None:
    if indices.dtype != torch.int64:
        raise ArgumentTypeError("indices", f"data type {indices.dtype}", "it must be torch.int64")


class _Checks(NamedTuple):
    """The checks of arguments that can be made on real tensors, or on fake ones."""

    conv: Callable[..., ConvGeometry]
    pool: Callable[..., PoolGeometry]
    adaptive: Callable[..., AdaptiveGeometry]
    indices: Callable[[Tensor, Sequence[int], int], None]


_REAL = _Checks(conv_geometry, pool_geometry, adaptive_geometry, check_indices)
_FAKE = _Checks(make_conv_geometry, make_pool_geometry, make_adaptive_geometry, _check_index_type)
"""For fake tensors: their sizes may be symbols, which no cache can hold, and their elements have no values."""


_plans: dict[str, Callable[..., _Plan]] = {}
"""The functions that plan an operator's call, by the operator's name."""


def by_torch(operation: str, *arguments: Any) -> Any:
    """Returns an operation's result, with gradients recorded by torch, if the backend leaves them to torch; else None.

    torch is the yardstick: going through operators and Functions of ours would make it slower.
    """
    if torch.compiler.is_compiling() or arguments[-1] == OPEN or arguments[0].dtype in HALVES:
        return None
    backend = registry.get(arguments[-1])
    if not backend.differentiable:
        return None
    plan = _plans[operation](_REAL, *arguments)
    result = getattr(backend, operation)(*plan.operands)
    if plan.others:
        return tuple([each.contiguous(memory_format=plan.layout) for each in result])
    return result.contiguous(memory_format=plan.layout)


def _operator(schema: str, rule: Callable[[Rule], Rule] = image_rule) -> Callable[[Callable[..., _Plan]], Any]:
    """Define the operator of ``schema`` by a function that checks its arguments and plans it; used as a decorator.

    ``rule`` makes the operator's rule for vmap.
    """

    def define(plan: Callable[..., _Plan]) -> Any:
        name = schema.partition("(")[0]

        def kernel(*arguments: Any) -> Any:
            return _run(name, arguments[-1], plan(_REAL, *arguments))

        def fake(*arguments: Any) -> Any:
            return _allocate(plan(_FAKE, *arguments))

        _plans[name] = plan
        return library.define(schema, kernel, fake, rule)

    return define


@_operator(f"conv2d(Tensor input, Tensor weight, Tensor? bias, {_CONV}, str backend) -> Tensor", conv2d_rule)
def conv2d(check: _Checks, x: Tensor, w: Tensor, b: Tensor | None, *how: Any) -> _Plan:
    check_types(input=x, weight=w, bias=b)
    g = check.conv(x.shape, w.shape, None if b is None else b.shape, _conv(how))
    return _Plan(g, (x, w, b, g), g.output_shape, layout_of(x, w))


@_operator(
    f"conv2d_input(SymInt[] input_size, Tensor weight, Tensor grad_output, {_CONV}, str backend) -> Tensor",
    conv2d_input_rule,
)
def conv2d_input(check: _Checks, size: Sequence[int], w: Tensor, grad: Tensor, *how: Any) -> _Plan:
    check_types(weight=w, grad_output=grad)
    g = check.conv(tuple(size), w.shape, None, _conv(how))
    same_shape("grad_output", grad.shape, g.output_shape, "the convolution's result")
    return _Plan(g, (grad, w, g), g.input_shape, layout_of(grad, w))


@_operator(
    f"conv2d_weight(Tensor input, SymInt[] weight_size, Tensor grad_output, {_CONV}, str backend) -> Tensor",
    conv2d_weight_rule,
)
def conv2d_weight(check: _Checks, x: Tensor, size: Sequence[int], grad: Tensor, *how: Any) -> _Plan:
    check_types(input=x, grad_output=grad)
    image_dims("input", x.shape, 2)
    g = check.conv(x.shape, tuple(size), None, _conv(how))
    same_shape("grad_output", grad.shape, g.output_shape, "the convolution's result")
    return _Plan(g, (x, grad, g), g.weight_shape, layout_of(x, grad))


@_operator(f"max_pool2d(Tensor input, {_POOL}, str backend) -> (Tensor, Tensor)")
def max_pool2d(check: _Checks, x: Tensor, *how: Any) -> _Plan:
    _check_pooled(x)
    g = check.pool(x.shape, _pool(how))
    return _Plan(g, (x, g), g.output_shape, layout_of(x), ((g.output_shape, torch.int64),))


@_operator(f"max_pool2d_values(Tensor input, {_POOL}, str backend) -> Tensor")
def max_pool2d_values(check: _Checks, x: Tensor, *how: Any) -> _Plan:
    _check_pooled(x)
    g = check.pool(x.shape, _pool(how))
    return _Plan(g, (x, g), g.output_shape, layout_of(x))


@_operator(
    "max_pool2d_backward(Tensor grad_output, Tensor indices, SymInt[] size, str backend) -> Tensor",
    partial(image_rule, tensors=2),
)
def max_pool2d_backward(check: _Checks, grad: Tensor, indices: Tensor, size: Sequence[int], backend: str) -> _Plan:
    check_types(grad_output=grad)
    check.indices(indices, size, -1)
    same_shape("indices", indices.shape, grad.shape, "grad_output")
    return _Plan(None, (grad, indices, tuple(size)), (*grad.shape[:2], *size), layout_of(grad))


@_operator(
    f"max_pool2d_gradient(Tensor grad_output, Tensor indices, SymInt[] input_size, {_POOL}, str backend) -> Tensor",
    partial(image_rule, tensors=2, size_at=2),
)
def max_pool2d_gradient(check: _Checks, grad: Tensor, indices: Tensor, size: Sequence[int], *how: Any) -> _Plan:
    # The indices are those that the pooling gave: the autograd node keeps them, and no other code can change them.
    check_types(grad_output=grad)
    g = check.pool(tuple(size), _pool(how))
    same_shape("grad_output", grad.shape, g.output_shape, "the pooling's result")
    same_shape("indices", indices.shape, g.output_shape, "the pooling's result")
    return _Plan(g, (grad, indices, g), g.input_shape, layout_of(grad))


@_operator(f"avg_pool2d(Tensor input, {_AVERAGE}, str backend) -> Tensor")
def avg_pool2d(check: _Checks, x: Tensor, *how: Any) -> _Plan:
    check_types(input=x)
    g = check.pool(x.shape, _pool(how))
    return _Plan(g, (x, g), g.output_shape, layout_of(x))


@_operator(
    f"avg_pool2d_backward(Tensor grad_output, SymInt[] input_size, {_AVERAGE}, str backend) -> Tensor",
    partial(image_rule, size_at=1),
)
def avg_pool2d_backward(check: _Checks, grad: Tensor, size: Sequence[int], *how: Any) -> _Plan:
    check_types(grad_output=grad)
    g = check.pool(tuple(size), _pool(how))
    same_shape("grad_output", grad.shape, g.output_shape, "the pooling's result")
    return _Plan(g, (grad, g), g.input_shape, layout_of(grad))


@_operator("adaptive_max_pool2d(Tensor input, SymInt[] output_size, str backend) -> (Tensor, Tensor)")
def adaptive_max_pool2d(check: _Checks, x: Tensor, size: Sequence[int], backend: str) -> _Plan:
    _check_pooled(x)
    g = check.adaptive(x.shape, tuple(size))
    return _Plan(g, (x, g), g.output_shape, layout_of(x), ((g.output_shape, torch.int64),))


@_operator("adaptive_max_pool2d_values(Tensor input, SymInt[] output_size, str backend) -> Tensor")
def adaptive_max_pool2d_values(check: _Checks, x: Tensor, size: Sequence[int], backend: str) -> _Plan:
    _check_pooled(x)
    g = check.adaptive(x.shape, tuple(size))
    return _Plan(g, (x, g), g.output_shape, layout_of(x))


@_operator(
    "adaptive_max_pool2d_gradient(Tensor grad_output, Tensor indices, SymInt[] input_size, str backend) -> Tensor",
    partial(image_rule, tensors=2, size_at=2),
)
def adaptive_max_pool2d_gradient(
    check: _Checks, grad: Tensor, indices: Tensor, size: Sequence[int], backend: str
) -> _Plan:
    # The indices are those that the pooling gave, as in `max_pool2d_gradient`.
    check_types(grad_output=grad)
    g = check.adaptive(tuple(size), tuple(grad.shape[2:]))
    same_shape("grad_output", grad.shape, g.output_shape, "the pooling's result")
    same_shape("indices", indices.shape, g.output_shape, "the pooling's result")
    return _Plan(g, (grad, indices, g), g.input_shape, layout_of(grad))


@_operator("adaptive_avg_pool2d(Tensor input, SymInt[] output_size, str backend) -> Tensor")
def adaptive_avg_pool2d(check: _Checks, x: Tensor, size: Sequence[int], backend: str) -> _Plan:
    check_types(input=x)
    g = check.adaptive(x.shape, tuple(size))
    return _Plan(g, (x, g), g.output_shape, layout_of(x))


@_operator(
    "adaptive_avg_pool2d_backward(Tensor grad_output, SymInt[] input_size, str backend) -> Tensor",
    partial(image_rule, size_at=1),
)
def adaptive_avg_pool2d_backward(check: _Checks, grad: Tensor, size: Sequence[int], backend: str) -> _Plan:
    check_types(grad_output=grad)
    g = check.adaptive(tuple(size), tuple(grad.shape[2:]))
    same_shape("grad_output", grad.shape, g.output_shape, "the pooling's result")
    return _Plan(g, (grad, g), g.input_shape, layout_of(grad))


@_operator(f"unfold(Tensor input, int[] kernel, {_CONV}, str backend) -> Tensor")
def unfold(check: _Checks, x: Tensor, kernel: Sequence[int], *how: Any) -> _Plan:
    check_types(input=x)
    g = unfold_geometry(x.shape, kernel, _conv(how), check.conv)
    return _Plan(g, (x, g), g.columns_shape, torch.contiguous_format)


@_operator(f"fold(Tensor input, SymInt[] output_size, int[] kernel, {_CONV}, str backend) -> Tensor")
def fold(check: _Checks, columns: Tensor, size: Sequence[int], kernel: Sequence[int], *how: Any) -> _Plan:
    check_types(input=columns)
    g = fold_geometry(columns.shape, tuple(size), tuple(kernel), _conv(how), check.conv)
    return _Plan(g, (columns, g), g.input_shape, torch.contiguous_format)


def _check_pooled(x: Tensor) -> None:
    """Refuse data types that max pooling doesn't take; it takes some of integers."""
    _check_dense("input", x)
    if x.is_floating_point():
        check_types(input=x)
    elif x.dtype not in _INTEGERS:
        allowed = f"it must be torch.float32, float64, bfloat16 or float16, or one of {', '.join(INTEGERS)}"
        raise ArgumentTypeError("input", f"data type {x.dtype}", allowed)


def _run(operation: str, name: str, plan: _Plan) -> Any:
    """Returns the primitive of the backend ``name`` on tensors."""
    dtype = plan.operands[0].dtype
    computed = torch.float32 if dtype in HALVES else dtype
    device = plan.operands[0].device
    backend = registry.resolve(None if name == OPEN else name).select(operation, plan.geometry, computed, device.type)
    if backend.takes_halves(device.type):
        computed = dtype
    result = getattr(backend, operation)(*[_plain(operand, backend, computed) for operand in plan.operands])
    if not plan.others:
        return _finished(result, dtype, plan.layout)
    dtypes = dtype, *(other for _, other in plan.others)
    return tuple([_finished(each, kind, plan.layout) for each, kind in zip(result, dtypes, strict=True)])


def _allocate(plan: _Plan) -> Any:
    """Returns results without content, with the shapes, data types and layouts of the real ones."""
    first = plan.operands[0]
    values = _blank(plan.shape, first.dtype, first.device, plan.layout)
    others = [_blank(shape, dtype, first.device, plan.layout) for shape, dtype in plan.others]
    return (values, *others) if others else values


def _blank(shape: Sequence[int], dtype: torch.dtype, device: torch.device, layout: torch.memory_format) -> Tensor:
    blank = torch.empty(shape, dtype=dtype, device=device)
    return blank.contiguous(memory_format=layout) if blank.ndim == 4 else blank


def _plain(operand: Any, backend: Backend, computed: torch.dtype) -> Any:
    if not isinstance(operand, Tensor):
        return operand
    # Each of these calls costs half a microsecond, so they are made only where they do something.
    tensor = operand.detach() if operand.requires_grad else operand
    if tensor.dtype is not computed and tensor.dtype in HALVES:
        tensor = tensor.to(computed)
    if backend.tensors:
        return tensor
    return array_of("an operand", tensor)


def _finished(result: Any, dtype: torch.dtype, layout: torch.memory_format) -> Tensor:
    tensor = result if isinstance(result, Tensor) else torch.from_numpy(result)
    if tensor.dtype is not dtype:
        tensor = tensor.to(dtype)
    if layout is torch.contiguous_format and tensor.is_contiguous():
        return tensor
    return tensor.contiguous(memory_format=layout) if tensor.ndim == 4 else tensor


def _conv(how: Sequence[Any]) -> ConvParameters:
    stride, padding, dilation, groups = how[:4]
    return ConvParameters(tuple(stride), tuple(padding), tuple(dilation), groups)


def _pool(how: Sequence[Any]) -> PoolParameters:
    kernel, stride, padding, dilation, *rest = how[:-1]
    return PoolParameters(tuple(kernel), tuple(stride), tuple(padding), tuple(dilation), *rest)


def _check_dense(name: str, tensor: Tensor) -> None:
    if tensor.layout is not torch.strided:
        raise ArgumentTypeError(name, f"layout {tensor.layout}", "it must be dense, as from tensor.to_dense()")


def check_types(**tensors: Tensor | None) -> None:
    """Refuse data types that can't be computed, and operands of different data types."""
    first: torch.dtype | None = None
    device: torch.device | None = None
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        _check_dense(name, tensor)
        if tensor.dtype not in _COMPUTED and tensor.dtype not in HALVES:
            allowed = "it must be torch.float32, float64, bfloat16 or float16"
            raise ArgumentTypeError(name, f"data type {tensor.dtype}", allowed)
        if first is None:
            first, device = tensor.dtype, tensor.device
        elif tensor.device != device:
            allowed = f"all operands must be on one device, and {next(iter(tensors))} is on {device}"
            raise ArgumentError(name, f"device {tensor.device}", allowed)
        elif tensor.dtype != first:
            allowed = f"all operands must be of one data type, and {next(iter(tensors))} is {first}"
            raise ArgumentError(name, f"data type {tensor.dtype}", allowed)
