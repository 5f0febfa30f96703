"""Predictions as a picture: each image as it was, as the network saw it, and how sure the network is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import PercentFormatter

from fastconv.models.inspection.prediction import Prediction
from fastconv.models.inspection.style import BLUE, PALE, bare, drawable, style

MOST = 40
"""Most predictions in a picture; with more it would grow beyond what programs open."""
CLASSES = 10
"""Most bars for a picture; of more classes the likeliest are shown."""
ROW = 1.7
"""Height of a row in inches."""


def prediction_picture(found: Sequence[Prediction], classes: Sequence[str]) -> Figure:
    """Returns the picture, with a row for each of the first forty of ``found``: original, what the network saw,
    probabilities."""
    rows = found[:MOST]
    classes = [drawable(name) for name in classes]
    with style():
        figure = Figure((7.5, ROW * len(rows)), layout="constrained")
        parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
        for part, one in zip(parts, rows, strict=True):
            _row(part, one, classes)
    return figure


def _row(part: SubFigure, one: Prediction, classes: Sequence[str]) -> None:
    original, small, bars = part.subplots(1, 3, width_ratios=(1, 1, 2.6))
    name = drawable(one.path.name)
    original.set_title(name if len(name) <= 22 else f"{name[:10]}...{name[-9:]}", size=8, weight="normal")
    original.imshow(one.picture, cmap="gray", vmin=0, vmax=255)
    small.set_title("as the network saw it", size=8, weight="normal")
    small.imshow(one.seen.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    for axes in (original, small):
        bare(axes)
    best = one.ranking()[0]
    bars.set_title(f"{classes[best]}, {one.probabilities[best]:.1%}")
    _bars(bars, one, classes)


def _bars(axes: Axes, one: Prediction, classes: Sequence[str]) -> None:
    shown = sorted(one.ranking()[:CLASSES])
    heights = np.array([one.probabilities[at] for at in shown])
    colours = [BLUE if height == heights.max() else PALE for height in heights]
    axes.bar(range(len(shown)), heights, color=colours, width=0.7)
    names = [classes[at] for at in shown]
    axes.set_xticks(range(len(shown)), names)
    if max(map(len, names)) * len(names) > 40:
        axes.tick_params(axis="x", rotation=30)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="y")
    axes.tick_params(length=0)
