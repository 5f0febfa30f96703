"""The contest's problems: layers of the one table, at batches that fill a GPU.

MNIST's networks at the batch that they are trained with, 100, and at 4096, where no launch is felt any more; ImageNet's
at 32.
"""

from __future__ import annotations

from fastconv.bench.problems import PROBLEMS, Problem

SMALL, LARGE, IMAGENET = 100, 4096, 32
"""Images of a batch."""


def mnist(batch: int) -> list[Problem]:
    """The convolutions of the networks for MNIST."""
    return [p for p in _of("mnist", batch) if p.kind == "conv"]


def dense(window: str) -> list[Problem]:
    """ResNet-50's and VGG-16's convolutions by windows "3x3" or "pointwise"."""
    return [p for network in ("resnet50", "vgg16") for p in _of(network, IMAGENET) if window in p.sets]


def depthwise() -> list[Problem]:
    """MobileNet's."""
    return [p for p in _of("mobilenet", IMAGENET) if "depthwise" in p.sets]


def poolings() -> list[Problem]:
    """Those of MNIST's networks at 32 and 4096, ResNet-50's and VGG-16's at 32."""
    layers = [
        *_of("mnist", IMAGENET),
        *_of("mnist", LARGE),
        *_of("resnet50", IMAGENET),
        *_of("vgg16", IMAGENET),
    ]
    return [p for p in layers if p.kind != "conv"]


def contest() -> list[Problem]:
    """All of them."""
    return [*mnist(SMALL), *mnist(LARGE), *dense("3x3"), *dense("pointwise"), *depthwise(), *poolings()]


def _of(set_: str, batch: int) -> list[Problem]:
    """A set's problems, each once, at another batch."""
    found = {p.name: p for p in (p.at_batch(batch) for p in PROBLEMS if set_ in p.sets)}
    return list(found.values())
