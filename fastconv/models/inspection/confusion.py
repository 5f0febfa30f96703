"""The confusion matrix as a picture shows what each class was taken for, in numbers and in shades.

Shades are shares of a class and numbers are images, which scikit-learn's display doesn't have apart.
"""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from fastconv.models.inspection.evaluation import Evaluation
from fastconv.models.inspection.style import INK, drawable, style

GAMMA = 0.4
"""Exponent of the shades: one image in a hundred must be visible next to ninety-nine."""
LETTERS = 11
"""Letters of a title in an inch."""
TICKS = (0, 0.001, 0.01, 0.1, 0.5, 1)
DARK = 0.25
"""A share whose shade takes white numbers."""
MOST_NUMBERS = 30
"""Most classes with numbers in their cells; with more, only the shades can be read."""
MOST_NAMES = 100
"""Most classes with names on the axes; with more, the picture stays at some 3,300 pixels a side."""


def confusion_picture(found: Evaluation, title: str) -> Figure:
    """Returns the picture: rows are the classes, columns what they were taken for, shades the share of the row."""
    counts = found.confusion.numpy()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [drawable(name) for name in found.classes]
    classes = len(names)
    numbered = classes <= MOST_NUMBERS
    side = classes * 0.5 if numbered else min(classes, MOST_NAMES) * 0.2
    with style():
        figure = Figure((max(side, 3) + 2.2, max(side, 3) + 1.4), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(GAMMA, 0, 1))
        heading = f"{drawable(title)}: {found.accuracy:.2%} of {found.images:,} images right"
        axes.set_title(textwrap.fill(heading, int(LETTERS * max(side, 3))))
        axes.set_xlabel("taken for")
        axes.set_ylabel("class")
        long = max(map(len, names)) > 3 or not numbered
        if classes <= MOST_NAMES:
            axes.set_xticks(range(classes), names, rotation=90 if long else 0)
            axes.set_yticks(range(classes), names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, shrink=0.7, ticks=TICKS)
        bar.set_ticklabels([f"{100 * share:g}%" for share in TICKS])
        bar.set_label("of the class's images")
        bar.outline.set_visible(False)
        for row, column in np.argwhere(counts) if numbered else ():
            dark = shares[row, column] > DARK
            text = f"{counts[row, column]:,}"
            axes.text(column, row, text, ha="center", va="center", size=8, color="white" if dark else INK)
    return figure
