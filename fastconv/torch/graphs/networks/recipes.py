"""Recipes: each adds the operations of one call to a drawing, given the numbers of the values that the call reads.

``alone`` says for each of these values that nothing else reads it.

A recipe raises ArgumentError where the sizes don't fit one another, which the calls by themselves will say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastconv.arguments import make_conv_geometry, make_pool_geometry, transposed_input_size
from fastconv.backends import network
from fastconv.backends.block import Activation, Block, Pooling
from fastconv.backends.network import Arranged, Convolved, Mapped, Normed, Pooled, Reshaped
from fastconv.errors import ArgumentError
from fastconv.geometry import ConvParameters, Pair, PoolParameters
from fastconv.torch.chains import POINT, Stage
from fastconv.torch.graphs.networks.drawing import Drawing
from fastconv.torch.norms import Norm


@dataclass(frozen=True)
class Layer:
    """A block's weight and bias, by their numbers among the parameters."""

    stage: Stage
    weight: int
    bias: int | None


@dataclass(frozen=True)
class Blocks:
    """Blocks one behind another; behind the images come the residuals of those that have one."""

    layers: tuple[Layer, ...]
    flat: bool = False
    """Whether the result is features."""

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], value: int, *residuals: int) -> int:
        further = iter(residuals)
        for layer in self.layers:
            stage, weight = layer.stage, layer.stage.weight
            if len(weight) == 2:
                value, weight = _flat(drawing, value), (*weight, 1, 1)
            geometry = make_conv_geometry(drawing.shapes[value], weight, None, stage.how)
            if stage.pool is not None:
                make_pool_geometry(geometry.output_shape, PoolParameters((2, 2), (2, 2)))
            block = Block(geometry, stage.activation, stage.pool, stage.residual)
            residual = next(further) if stage.residual else None
            if residual is not None and drawing.shapes[residual] != geometry.output_shape:
                raise ArgumentError("residual", drawing.shapes[residual], f"it must be {geometry.output_shape}")
            value = drawing.add(
                Convolved(block, value, layer.weight, layer.bias, residual),
                block.result_shape,
            )
        return _flat(drawing, value) if self.flat else value


@dataclass(frozen=True)
class Linear:
    """A linear layer of features."""

    weight: int
    bias: int | None

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], value: int) -> int:
        shape = drawing.parameters[self.weight]
        layer = Layer(Stage(shape, POINT, None, None), self.weight, self.bias)
        return Blocks((layer,))(drawing, alone, value)


@dataclass(frozen=True)
class Transposed:
    """A transposed convolution, with an output padding below the stride."""

    weight: int
    bias: int | None
    how: ConvParameters
    output_padding: Pair

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], value: int) -> int:
        weight, bias = drawing.parameters[self.weight], None if self.bias is None else drawing.parameters[self.bias]
        size = transposed_input_size(drawing.shapes[value], weight, bias, self.how, self.output_padding)
        geometry = make_conv_geometry(size, weight, None, self.how)
        value = drawing.add(network.Transposed(geometry, value, self.weight), geometry.input_shape)
        return value if self.bias is None else drawing.add(Mapped(value, shift=self.bias), geometry.input_shape)


@dataclass(frozen=True)
class Windows:
    """A pooling."""

    kind: Pooling
    how: PoolParameters

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], value: int) -> int:
        geometry = make_pool_geometry(drawing.shapes[value], self.how)
        return drawing.add(Pooled(geometry, self.kind, value), geometry.output_shape)


@dataclass(frozen=True)
class Means:
    """An average pooling to a size that divides that of the images; None keeps an axis."""

    size: tuple[int | None, int | None]

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], value: int) -> int:
        _, _, *plane = drawing.shapes[value]
        wanted = [own if size is None else size for own, size in zip(plane, self.size, strict=True)]
        if wanted == plane:
            return drawing.same(value)
        if any(size < 1 or own % size for own, size in zip(plane, wanted, strict=True)):
            raise ArgumentError("output_size", wanted, f"it must divide {plane}")
        kernel = plane[0] // wanted[0], plane[1] // wanted[1]
        return Windows("avg", PoolParameters(kernel, kernel))(drawing, alone, value)


@dataclass(frozen=True)
class Activated:
    """An activation."""

    activation: Activation

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], value: int) -> int:
        return drawing.activate(value, self.activation, alone=alone[0])


@dataclass(frozen=True)
class Sum:
    """The sum of two values."""

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], one: int, other: int) -> int:
        _check_same(drawing.shapes[one], drawing.shapes[other])
        return drawing.sum(one, other, (alone[0], alone[1]))


@dataclass(frozen=True)
class Scaled:
    """A product by a factor for each channel of each image."""

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], value: int, factors: int) -> int:
        shape = drawing.shapes[value]
        _check_same(drawing.shapes[factors], (*shape[:2], 1, 1))
        return drawing.add(Mapped(value, factors=factors), shape)


@dataclass(frozen=True)
class Normalised:
    """A batch normalisation with fixed statistics, as factors and summands."""

    scale: int
    shift: int

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], value: int) -> int:
        shape = drawing.shapes[value]
        _check_same(drawing.parameters[self.scale], shape[1:2])
        return drawing.add(Mapped(value, scale=self.scale, shift=self.shift), shape)


@dataclass(frozen=True)
class Trained:
    """A batch normalisation by the batch's statistics, with what follows it; vectors are numbers of parameters."""

    norm: Norm
    gamma: int | None
    beta: int | None
    running: tuple[int, int] | None

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], value: int, residual: int | None = None) -> int:
        shape, norm = drawing.shapes[value], self.norm
        if shape[0] * shape[2] * shape[3] < 2:
            raise ArgumentError("input", shape, "a channel must have more than one number")
        for number in (self.gamma, self.beta, *(self.running or ())):
            if number is not None:
                _check_same(drawing.parameters[number], shape[1:2])
        if residual is not None:
            _check_same(drawing.shapes[residual], shape)
        vectors = self.gamma, self.beta, self.running
        return drawing.add(Normed(value, *vectors, norm.momentum, norm.eps, residual, norm.activation), shape)


@dataclass(frozen=True)
class Joined:
    """A concatenation along channels."""

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], *values: int) -> int:
        shapes = [drawing.shapes[value] for value in values]
        for shape in shapes:
            _check_same((shape[0], *shape[2:]), (shapes[0][0], *shapes[0][2:]))
        channels = tuple([(value, 0, shape[1]) for value, shape in zip(values, shapes, strict=True)])
        total = sum(shape[1] for shape in shapes)
        return drawing.add(Arranged(channels), (shapes[0][0], total, *shapes[0][2:]))


@dataclass(frozen=True)
class Part:
    """Channels ``first`` up to ``end``."""

    first: int
    end: int

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], value: int) -> int:
        images, channels, *plane = drawing.shapes[value]
        if self.end > channels:
            raise ArgumentError("input", f"{channels} channels", f"{self.end} are read")
        count = self.end - self.first
        return drawing.add(Arranged(((value, self.first, count),)), (images, count, plane[0], plane[1]))


@dataclass(frozen=True)
class Shuffled:
    """Channels of several groups, one of each in turn."""

    groups: int

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], value: int) -> int:
        channels = drawing.shapes[value][1]
        if channels % self.groups:
            raise ArgumentError("groups", self.groups, f"it must divide {channels}")
        each = channels // self.groups
        order = [(value, group * each + at, 1) for at in range(each) for group in range(self.groups)]
        return drawing.add(Arranged(tuple(order)), drawing.shapes[value])


@dataclass(frozen=True)
class Flat:
    """Images as features."""

    def __call__(self, drawing: Drawing, alone: tuple[bool, ...], value: int) -> int:
        flat = _flat(drawing, value)
        return drawing.same(value) if flat == value else flat


Recipe = (
    Blocks
    | Linear
    | Transposed
    | Windows
    | Means
    | Activated
    | Sum
    | Scaled
    | Normalised
    | Trained
    | Joined
    | Part
    | Shuffled
    | Flat
)


def _flat(drawing: Drawing, value: int) -> int:
    images, *image = drawing.shapes[value]
    if image[1:] == [1, 1]:
        return value
    return drawing.add(Reshaped(value), (images, math.prod(image), 1, 1))


def _check_same(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    if tuple(one) != tuple(other):
        raise ArgumentError("shape", tuple(one), f"it must be {tuple(other)}")
