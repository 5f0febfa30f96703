"""The one table of problems: layers that people run, by network, for the bench and for the tests.

A problem is a geometry with a name and the sets it belongs to. Batches are 1, 32 and 100 for the networks of
`fastconv.models`, and for ImageNet's as many images as two cores do in some tens of milliseconds. Layers are those of
the papers: LeCun et al. 1998 (LeNet-5), Krizhevsky et al. 2012 (AlexNet), Simonyan and Zisserman 2014 (VGG-16), Szegedy
et al. 2014 (GoogLeNet), He et al. 2015 (ResNet-50), Howard et al. 2017 (MobileNet), Xie et al. 2016 (ResNeXt).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from fastconv import ConvGeometry, PoolGeometry, layer

OPERATIONS = layer.OPERATIONS["conv"]


class ProblemError(ValueError):
    """A problem, set or operation that there isn't; the message says which there are."""


@dataclass(frozen=True)
class Problem:
    """A layer: ``kind`` is "conv", "max" or "avg"."""

    name: str
    kind: str
    geometry: ConvGeometry | PoolGeometry
    sets: frozenset[str]
    dtype: str = "float32"
    layout: str = "contiguous"
    only: tuple[str, ...] = ()
    """The operations that are timed, or none for all that there are."""

    @property
    def operations(self) -> tuple[str, ...]:
        """What can be timed of it."""
        return self.only or layer.OPERATIONS["conv" if self.kind == "conv" else "pool"]

    @property
    def common(self) -> bool:
        """True for float32 in the usual layout, and a pooling as all libraries have it: those that every peer does."""
        g = self.geometry
        pool = not isinstance(g, PoolGeometry) or g == PoolGeometry(g.N, g.C, g.H, g.W, g.R, g.S, g.stride, g.padding)
        return pool and (self.dtype, self.layout) == ("float32", "contiguous")

    def flops(self, operation: str) -> int:
        """Floating-point operations, a multiply-add counted as two; a pooling's are comparisons or additions."""
        return self.geometry.flops * (2 if self.kind == "conv" and operation == "backward" else 1)

    def bytes(self, operation: str) -> int:
        """The fewest bytes that ``operation`` must move, each operand and each result once.

        A convolution's backward pass reads input, weight and gradient and writes two gradients as large as what it
        read. Max pooling's backward pass reads its int64 indices; forwards they are made only for who asks.
        """
        g, itemsize = self.geometry, layer.DTYPES[self.dtype]
        if isinstance(g, ConvGeometry):
            again = (g.N * g.C * g.H * g.W + g.K * (g.C // g.groups) * g.R * g.S) if operation == "backward" else 0
            return g.bytes(itemsize) + itemsize * again
        indices = g.N * g.C * g.P * g.Q if self.kind == "max" and operation == "backward" else 0
        return g.bytes(itemsize) + 8 * indices

    def at_batch(self, images: int) -> Problem:
        """The same layer for another number of images."""
        name = re.sub(r"_n\d+$", "", self.name)
        return replace(self, name=f"{name}_n{images}", geometry=replace(self.geometry, N=images))


def conv(
    name: str,
    sets: str,
    N: int,
    C: int,
    H: int,
    K: int,
    R: int,
    *,
    W: int | None = None,
    S: int | None = None,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Problem:
    """A convolution of (N, C, H, W) by (K, C / groups, R, S), square unless W and S are given."""
    high, wide = (padding, padding) if isinstance(padding, int) else padding
    sides = (high, high, wide, wide)
    geometry = ConvGeometry(N, C, H, W or H, K, R, S or R, (stride,) * 2, sides, (dilation,) * 2, groups)
    if geometry.P < 1 or geometry.Q < 1:
        raise ProblemError(f"{name}: the kernel does not fit in the padded image")
    return Problem(f"{name}_n{N}", "conv", geometry, frozenset(sets.split()))


def pool(
    name: str, sets: str, kind: str, N: int, C: int, H: int, R: int, stride: int | None = None, padding: int = 0
) -> Problem:
    """A pooling of (N, C, H, H) by windows of R x R."""
    geometry = PoolGeometry(N, C, H, H, R, R, (stride or R,) * 2, (padding,) * 2)
    return Problem(f"{name}_n{N}", kind, geometry, frozenset(sets.split()))


def _batches(make: Iterable[Problem], *batches: int) -> Iterator[Problem]:
    for problem in make:
        for images in batches:
            yield problem.at_batch(images)


_MNIST = [
    conv("lenet5.conv1", "mnist first_layer", 1, 1, 28, 6, 5, padding=2),
    conv("lenet5.conv2", "mnist", 1, 6, 14, 16, 5),
    conv("lenet5.conv3", "mnist", 1, 16, 5, 120, 5),
    conv("simple_convnet.conv1", "mnist first_layer", 1, 1, 28, 30, 5),
    conv("dropout_cnn.conv1", "mnist first_layer", 1, 1, 28, 10, 5, padding=2),
    conv("two_layer_cnn.conv1", "mnist first_layer", 1, 1, 28, 32, 3, padding=1),
    conv("two_layer_cnn.conv2", "mnist", 1, 32, 14, 64, 3, padding=1),
]
_MNIST_POOLS = [
    pool("lenet5.pool1", "mnist pooling", "avg", 1, 6, 28, 2),
    pool("lenet5.pool2", "mnist pooling", "avg", 1, 16, 10, 2),
    pool("simple_convnet.pool1", "mnist pooling", "max", 1, 30, 24, 2),
]
_RESNET50 = [
    conv("resnet50.stem", "resnet50 first_layer", 8, 3, 224, 64, 7, stride=2, padding=3),
    conv("resnet50.2a", "resnet50 pointwise", 8, 256, 56, 64, 1),
    conv("resnet50.2b", "resnet50 3x3", 8, 64, 56, 64, 3, padding=1),
    conv("resnet50.2c", "resnet50 pointwise", 8, 64, 56, 256, 1),
    conv("resnet50.3shortcut", "resnet50 pointwise strided", 8, 256, 56, 512, 1, stride=2),
    conv("resnet50.3b_down", "resnet50 3x3 strided", 8, 128, 56, 128, 3, stride=2, padding=1),
    conv("resnet50.3b", "resnet50 3x3", 8, 128, 28, 128, 3, padding=1),
    conv("resnet50.3c", "resnet50 pointwise", 8, 128, 28, 512, 1),
    conv("resnet50.4b", "resnet50 3x3", 8, 256, 14, 256, 3, padding=1),
    conv("resnet50.4c", "resnet50 pointwise", 8, 256, 14, 1024, 1),
    conv("resnet50.5a", "resnet50 pointwise", 8, 2048, 7, 512, 1),
    conv("resnet50.5b", "resnet50 3x3", 8, 512, 7, 512, 3, padding=1),
    pool("resnet50.maxpool", "resnet50 pooling", "max", 8, 64, 112, 3, 2, 1),
    pool("resnet50.avgpool", "resnet50 pooling", "avg", 8, 2048, 7, 7),
]
_VGG16 = [
    conv("vgg16.1_1", "vgg16 first_layer 3x3", 2, 3, 224, 64, 3, padding=1),
    conv("vgg16.1_2", "vgg16 3x3", 2, 64, 224, 64, 3, padding=1),
    conv("vgg16.2_2", "vgg16 3x3", 2, 128, 112, 128, 3, padding=1),
    conv("vgg16.3_2", "vgg16 3x3", 2, 256, 56, 256, 3, padding=1),
    conv("vgg16.4_2", "vgg16 3x3", 2, 512, 28, 512, 3, padding=1),
    conv("vgg16.5_1", "vgg16 3x3", 2, 512, 14, 512, 3, padding=1),
    pool("vgg16.pool1", "vgg16 pooling", "max", 2, 64, 224, 2),
    pool("vgg16.pool4", "vgg16 pooling", "max", 2, 512, 28, 2),
]
_MOBILENET = [
    conv("mobilenet.stem", "mobilenet first_layer strided", 8, 3, 224, 32, 3, stride=2, padding=1),
    conv("mobilenet.dw1", "mobilenet depthwise", 8, 32, 112, 32, 3, padding=1, groups=32),
    conv("mobilenet.pw1", "mobilenet pointwise", 8, 32, 112, 64, 1),
    conv("mobilenet.dw2_down", "mobilenet depthwise strided", 8, 64, 112, 64, 3, stride=2, padding=1, groups=64),
    conv("mobilenet.dw3", "mobilenet depthwise", 8, 128, 56, 128, 3, padding=1, groups=128),
    conv("mobilenet.pw3", "mobilenet pointwise", 8, 128, 56, 128, 1),
    conv("mobilenet.dw7", "mobilenet depthwise", 8, 512, 14, 512, 3, padding=1, groups=512),
    conv("mobilenet.pw7", "mobilenet pointwise", 8, 512, 14, 512, 1),
    conv("mobilenet.pw13", "mobilenet pointwise", 8, 1024, 7, 1024, 1),
]
_GOOGLENET = [
    conv("googlenet.3a_1x1", "googlenet pointwise", 8, 192, 28, 64, 1),
    conv("googlenet.2_3x3", "googlenet 3x3", 8, 64, 56, 192, 3, padding=1),
    conv("googlenet.3a_3x3", "googlenet 3x3", 8, 96, 28, 128, 3, padding=1),
    conv("googlenet.3a_5x5", "googlenet 5x5", 8, 16, 28, 32, 5, padding=2),
    conv("googlenet.4a_3x3", "googlenet 3x3", 8, 96, 14, 208, 3, padding=1),
    conv("googlenet.4a_5x5", "googlenet 5x5", 8, 16, 14, 48, 5, padding=2),
    conv("googlenet.5b_5x5", "googlenet 5x5", 8, 48, 7, 128, 5, padding=2),
    pool("googlenet.3a_pool", "googlenet pooling", "max", 8, 192, 28, 3, 1, 1),
]
_ALEXNET = [
    conv("alexnet.conv1", "alexnet first_layer strided 11x11", 8, 3, 224, 64, 11, stride=4, padding=2),
    conv("alexnet.conv2", "alexnet 5x5", 8, 64, 27, 192, 5, padding=2),
    conv("alexnet.conv3", "alexnet 3x3", 8, 192, 13, 384, 3, padding=1),
    conv("alexnet.conv5", "alexnet 3x3", 8, 256, 13, 256, 3, padding=1),
    pool("alexnet.pool1", "alexnet pooling", "max", 8, 64, 55, 3, 2),
]
_UNUSUAL = [
    conv("odd.7to13", "odd", 8, 7, 31, 13, 3, padding=1),
    conv("odd.17to33", "odd", 8, 17, 28, 33, 3, padding=1),
    conv("odd.67to129_5x5", "odd 5x5", 8, 67, 15, 129, 5, padding=2),
    conv("dilated.2", "dilated", 8, 64, 28, 64, 3, padding=2, dilation=2),
    conv("dilated.6", "dilated", 4, 64, 33, 64, 3, padding=6, dilation=6),
    conv("grouped.resnext", "grouped", 8, 128, 28, 128, 3, padding=1, groups=32),
    conv("grouped.23", "grouped odd", 8, 92, 14, 92, 3, padding=1, groups=4),
    conv("depthwise.multiplier", "depthwise", 8, 32, 28, 64, 3, padding=1, groups=32),
    conv("large.7x7", "large_kernel", 4, 32, 56, 32, 7, padding=3),
    conv("large.31x31", "large_kernel depthwise", 2, 64, 28, 64, 31, padding=15, groups=64),
    conv("line.1x7", "line", 8, 128, 17, 128, 1, S=7, padding=(0, 3)),
    conv("line.7x1", "line", 8, 128, 17, 128, 7, S=1, padding=(3, 0)),
]
_SMOKE = [
    conv("smoke.first", "smoke", 4, 1, 28, 6, 5, padding=2),
    conv("smoke.3x3", "smoke", 1, 32, 28, 32, 3, padding=1),
    conv("smoke.depthwise", "smoke", 1, 32, 28, 32, 3, stride=2, padding=1, groups=32),
    pool("smoke.max", "smoke pooling", "max", 4, 16, 28, 2),
    pool("smoke.avg", "smoke pooling", "avg", 4, 16, 28, 3, 2, 1),
]

PROBLEMS: tuple[Problem, ...] = (
    *_batches([*_MNIST, *_MNIST_POOLS], 1, 32, 100),
    *_RESNET50,
    *_VGG16,
    *_MOBILENET,
    *_GOOGLENET,
    *_ALEXNET,
    *_UNUSUAL,
    *_SMOKE,
)
SETS: tuple[str, ...] = tuple(sorted({name for problem in PROBLEMS for name in problem.sets}))


def select(sets: Iterable[str] = (), custom: Iterable[str] = ()) -> list[Problem]:
    """The problems of all ``sets``, "all" being every problem but `smoke`'s, and those that ``custom`` texts describe.

    Raises:
        ProblemError: an unknown set, or a text that describes no problem.
    """
    wanted = set(sets)
    unknown = wanted - set(SETS) - {"all"}
    if unknown:
        raise ProblemError(f"no set is called {', '.join(sorted(unknown))}; the sets are all, {', '.join(SETS)}")
    chosen = [
        problem for problem in PROBLEMS if problem.sets & wanted or ("all" in wanted and "smoke" not in problem.sets)
    ]
    return chosen + [parse(text) for text in custom]


def parse(text: str) -> Problem:
    """A problem from a text such as "N=8 C=64 H=56 K=128 R=3 stride=2x1 padding=1"; `fastconv.layer` has the fields.

    Raises:
        ProblemError: a missing, unknown or impossible field, which the message names.
    """
    try:
        found = layer.parse(text)
    except layer.LayerError as error:
        raise ProblemError(f"problem {text!r}: {error}") from None
    words = (f"{name}{value}" for name, value in layer.fields(found).items() if name not in ("N", "op"))
    name = "_".join((*words, f"n{found.geometry.N}"))
    only = (found.operation,) if found.operation else ()
    return Problem(name, found.kind, found.geometry, frozenset({"custom"}), found.dtype, found.layout, only)
