"""torch's functions by which a graph convolves, pools, normalises and flattens, and the arguments of their calls."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from fastconv import functional as mine
from fastconv.arguments import conv_parameters, pair
from fastconv.backends.block import Pooling
from fastconv.errors import ArgumentError, ArgumentTypeError
from fastconv.geometry import ConvParameters, PoolParameters
from fastconv.torch.pairs import pooling_in_pairs

theirs = torch.nn.functional

COUNTERPARTS: dict[Any, Callable[..., Any]] = {
    torch.conv1d: mine.conv1d,
    torch.conv2d: mine.conv2d,
    torch.conv_transpose1d: mine.conv_transpose1d,
    torch.conv_transpose2d: mine.conv_transpose2d,
    theirs.max_pool1d: mine.max_pool1d,
    torch.max_pool1d: mine.max_pool1d,
    theirs.max_pool2d: mine.max_pool2d,
    torch.max_pool2d: mine.max_pool2d,
    theirs.avg_pool1d: mine.avg_pool1d,
    theirs.avg_pool2d: mine.avg_pool2d,
    theirs.adaptive_avg_pool2d: mine.adaptive_avg_pool2d,
    theirs.adaptive_max_pool2d: mine.adaptive_max_pool2d,
}
"""fastconv's function for each of torch's: both take the same arguments."""


def _signature(counterpart: Callable[..., Any]) -> inspect.Signature:
    """Returns the signature of fastconv's function without ``backend``, which torch's has not."""
    found = inspect.signature(counterpart)
    return found.replace(parameters=[each for name, each in found.parameters.items() if name != "backend"])


def _linear(input: Any, weight: Any, bias: Any = None) -> None:
    """Has the signature of `torch.nn.functional.linear`, which doesn't tell its own."""


_SIGNATURES = {
    **{function: _signature(counterpart) for function, counterpart in COUNTERPARTS.items()},
    **{function: inspect.signature(function) for function in (theirs.batch_norm, theirs.dropout)},
    theirs.linear: inspect.signature(_linear),
}
ADDITIONS = operator.add, operator.iadd, torch.add
_FRESH = torch.conv2d, theirs.batch_norm
"""Functions whose results share no memory with another tensor."""

_FLATTENING = (torch.flatten, torch.reshape, "flatten", "reshape", "view")


def arguments(node: Node, *functions: Any) -> dict[str, Any] | None:
    """Returns a call's arguments by their names, defaults included, or None if it is no call of one of ``functions``.

    An argument that only the run of the graph decides is a node.
    """
    if node.op != "call_function" or node.target not in functions:
        return None
    return bound(node, node.target)


def bound(node: Node, function: Any) -> dict[str, Any] | None:
    """Returns a call's arguments by the names that a function of torch's gives them, or None if they don't fit it."""
    try:
        given = _SIGNATURES[function].bind(*node.args, **node.kwargs)
    except TypeError:
        return None
    given.apply_defaults()
    return given.arguments


def convolution(call: dict[str, Any], weight: Any) -> ConvParameters | None:
    """Returns the parameters of a convolution by a weight (K, C / G, R, S), or None if they aren't all constants."""
    how = [call[name] for name in ("stride", "padding", "dilation", "groups")]
    kernel = sizes(weight)
    if kernel is None or len(kernel) != 4 or not all(is_constant(each) for each in (kernel, *how)):
        return None
    stride, padding, dilation = (tuple(each) if isinstance(each, list) else each for each in how[:3])
    try:
        return conv_parameters(kernel[2:], stride, padding, dilation, how[3])
    except (ArgumentError, ArgumentTypeError):
        return None


def windows(call: dict[str, Any]) -> PoolParameters | None:
    """Returns a pooling's parameters, or None if they aren't constants that are allowed."""
    try:
        kernel = pair("kernel_size", call["kernel_size"], 1)
        stride = call["stride"]
        steps = kernel if stride in (None, (), []) else pair("stride", stride, 1)
        padding, dilation = pair("padding", call["padding"], 0), pair("dilation", call.get("dilation", 1), 1)
    except (ArgumentError, ArgumentTypeError):
        return None
    further = call.get("count_include_pad", True), call.get("divisor_override")
    if type(call["ceil_mode"]) is not bool or type(further[0]) is not bool or type(further[1]) not in (int, type(None)):
        return None
    return PoolParameters(kernel, steps, padding, dilation, call["ceil_mode"], *further)


def pooling(node: Node) -> Pooling | None:
    """Returns which pooling of 2 x 2 windows a call is, if it is one."""
    call = arguments(node, theirs.max_pool2d, torch.max_pool2d, theirs.avg_pool2d)
    return None if call is None else pooling_in_pairs(call)


def addition(node: Node, summand: Node) -> Node | None:
    """Returns the other tensor that a call adds to ``summand``, or None if it computes another thing.

    A call that writes into the other tensor is none of these, unless only the call itself reads that.
    """
    if node.op != "call_function" or node.target not in ADDITIONS or len(node.args) != 2 or node.kwargs:
        return None
    first, second = node.args
    if not (isinstance(first, Node) and isinstance(second, Node)) or first is second:
        return None
    if first is summand:
        return second
    written = node.target is operator.iadd and (list(first.users) != [node] or first.target not in _FRESH)
    return first if second is summand and not written else None


def is_flattening(node: Node) -> bool:
    """Returns True if a call makes (N, features) of images (N, C, H, W)."""
    if node.target not in _FLATTENING or not isinstance(node.args[0], Node):
        return False
    before, after = sizes(node.args[0]), sizes(node)
    if before is None or after is None or (len(before), len(after)) != (4, 2):
        return False
    return statically_known_true(before[0] == after[0])


def channels(node: Node) -> tuple[int, int] | None:
    """Returns the first channel and the end of those that a call takes, as ``x[:, 3:8]``, or None for another call."""
    shape, places = sizes(node.args[0]), node.args[1]
    if shape is None or len(shape) != 4 or not isinstance(places, tuple) or not 2 <= len(places) <= 4:
        return None
    whole, part, *rest = places
    if whole != slice(None) or not all(each is Ellipsis or each == slice(None) for each in rest):
        return None
    if not isinstance(part, slice) or not all(type(each) in (int, type(None)) for each in (part.start, part.stop)):
        return None
    if part.step not in (None, 1) or type(shape[1]) is not int:
        return None
    first, end, _ = part.indices(shape[1])
    return (first, end) if first < end else None


def follows(node: Node, before: Node) -> bool:
    """Returns True if a call reads the result before it, as its first argument or adding to it, and it alone does."""
    if list(before.users) != [node]:
        return False
    arguments = [*node.args, *node.kwargs.values()]
    first = bool(arguments) and arguments[0] is before
    return (first or addition(node, before) is not None) and arguments.count(before) == 1


def have_same_sizes(*nodes: Node) -> bool:
    """Returns True if the nodes stand for images of four axes whose sizes are known to be equal."""
    shapes = [sizes(each) or () for each in nodes]
    if any(len(shape) != 4 for shape in shapes):
        return False
    return all(statically_known_true(size == other) for size, *more in zip(*shapes, strict=True) for other in more)


def sizes(node: Any) -> tuple[int, ...] | None:
    """Returns the shape of the tensor that a node stands for, in which sizes may be symbols, or None without one."""
    example = node.meta.get("example_value") if isinstance(node, Node) else None
    return tuple(example.shape) if isinstance(example, torch.Tensor) else None


def is_given(value: Any) -> bool:
    """Returns True for a tensor that a graph gets, and doesn't compute."""
    return isinstance(value, Node) and value.op in ("placeholder", "get_attr")


def is_constant(value: Any) -> bool:
    """Returns True for a number or a word, or several, that a graph has in it."""
    return all(type(each) in (int, str) for each in (value if isinstance(value, (tuple, list)) else (value,)))
