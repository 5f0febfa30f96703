"""The layers' results as a picture, from the image down to the classes: maps side by side, strips of dense layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from fastconv.models.inspection.features import Feature
from fastconv.models.inspection.montage import montage
from fastconv.models.inspection.seeing import Pixels
from fastconv.models.inspection.style import SIGNED, bare, drawable, style

MOST_MAPS = 64
"""Most maps of one layer in the picture; of more, the first are shown."""
COLUMNS = 16
WIDTH, MARGIN = 8.0, 0.15
HEADING, STRIP, NAMES = 0.32, 0.22, 0.2
LARGEST_MAP = 1.0
"""Largest side of a map, and the picture's other sizes, in inches."""

MOST_NAMES = 50
"""Most classes whose names fit below the last strip."""


def features_picture(image: Pixels, layers: Sequence[Feature], classes: Sequence[str], title: str) -> Figure:
    """Returns the picture: ``image`` (channels, height, width) and below it ``layers``, each on its own scale.

    Results of ReLU are grey, from zero, black; others blue below zero and red above.
    """
    heights = [_height(layer.values) for layer in layers]
    height = 2 * MARGIN + 1.6 * HEADING + LARGEST_MAP + sum(heights) + HEADING * len(layers) + NAMES
    with style():
        figure = Figure((WIDTH + 2 * MARGIN, height))
        top = height - MARGIN - 0.6 * HEADING
        figure.text(
            MARGIN / figure.get_figwidth(), 1 - MARGIN / height, drawable(title), va="top", weight="bold", size=11
        )
        axes = _place(figure, top, LARGEST_MAP, LARGEST_MAP * image.shape[2] / image.shape[1], "image", _size(image))
        axes.imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        top -= HEADING + LARGEST_MAP
        for layer, tall in zip(layers, heights, strict=True):
            axes = _place(figure, top, tall, WIDTH, layer.name, _heading(layer))
            _draw(axes, layer.values)
            top -= HEADING + tall
        if layers and layers[-1].values.shape == (len(classes),) and len(classes) <= MOST_NAMES:
            axes.set_xticks(range(len(classes)), [drawable(name) for name in classes])
            axes.tick_params(length=0)
    return figure


def _place(figure: Figure, top: float, tall: float, wide: float, name: str, heading: str) -> Axes:
    """Axes of ``tall`` x ``wide`` inches below a heading, ``top`` inches above the figure's bottom."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((MARGIN / width, (top - HEADING - tall) / height, wide / width, tall / height))
    bare(axes)
    axes.set_title(name, pad=4)
    shift = 0.085 * len(name) + 0.15
    axes.annotate(heading, (0, 1), (shift * 72, 4), xycoords="axes fraction", textcoords="offset points", size=8)
    return axes


def _heading(layer: Feature) -> str:
    values = layer.values
    shown = f", the first {MOST_MAPS} shown" if _is_maps(values) and len(values) > MOST_MAPS else ""
    return f"{layer.kind}: {_size(values)}{shown}, from {values.min():.2g} to {values.max():.2g}"


def _size(values: npt.NDArray) -> str:
    return " x ".join(map(str, values.shape))


def _is_maps(values: npt.NDArray) -> bool:
    """Returns True if a result is maps, not one value for each channel."""
    return values.ndim == 3 and values.shape[1:] != (1, 1)


def _columns(maps: int) -> int:
    return min(maps, COLUMNS)


def _height(values: npt.NDArray) -> float:
    if not _is_maps(values):
        return STRIP
    maps = min(len(values), MOST_MAPS)
    side = min(WIDTH / _columns(maps), LARGEST_MAP)
    return side * math.ceil(maps / _columns(maps)) * values.shape[1] / values.shape[2]


def _draw(axes: Axes, values: npt.NDArray[np.float32]) -> None:
    least, most = float(values.min()), float(np.abs(values).max()) or 1.0
    maps = _is_maps(values)
    axes.imshow(
        montage(values[:MOST_MAPS], _columns(len(values))) if maps else values.reshape(1, -1),
        cmap="gray" if least >= 0 else SIGNED,
        norm=Normalize(0 if least >= 0 else -most, most),
        aspect="equal" if maps else "auto",
        interpolation="nearest",
    )
    axes.set_anchor("W")
