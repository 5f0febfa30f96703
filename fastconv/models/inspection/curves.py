"""The curves of a training: losses and accuracies by epoch, drawn from its log."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from fastconv.models.errors import ModelsError
from fastconv.models.inspection.log import History
from fastconv.models.inspection.style import BLUE, GREEN, INK, ORANGE, drawable, style

LINES = (("train", INK, "o"), ("validation", GREEN, "s"), ("test", ORANGE, "^"))
SMOOTHED = 10
"""Each point of a curve is an average over one in this many of an epoch's steps."""

LOGARITHMIC = 4
"""Losses are drawn on a logarithmic scale if the largest is more than this many times the least."""


def curves_picture(history: History, title: str) -> Figure:
    """Returns the picture: loss on the left, accuracy on the right, and the steps' smoothed losses if the log has them.

    Raises ModelsError for a log without an epoch.
    """
    if not history.epochs:
        raise ModelsError(f"{title}: its log has no epoch yet; there are no curves before the first is over")
    with style():
        figure = Figure((9, 3.6), layout="constrained")
        figure.suptitle(drawable(title), x=0.01, ha="left", weight="bold", size=11)
        losses, accuracies = figure.subplots(1, 2)
        _draw_steps(losses, history)
        _draw_epochs(losses, history, "loss")
        _draw_epochs(accuracies, history, "accuracy")
        losses.set_title("loss")
        drawn = [value for line in losses.lines for value in np.asarray(line.get_ydata())]
        if drawn and 0 < LOGARITHMIC * min(drawn) < max(drawn):
            losses.set_yscale("log")
            losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            losses.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            losses.yaxis.set_minor_locator(NullLocator())
        accuracies.set_title("accuracy")
        accuracies.margins(y=0.12)
        accuracies.yaxis.set_major_formatter(PercentFormatter(1))
        for axes in (losses, accuracies):
            axes.set_xlabel("epoch")
            axes.set_xlim(0 if history.steps and axes is losses else 0.5, max(history.epochs) + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid()
            if axes.lines:
                axes.legend(frameon=False)
    return figure


def _draw_steps(axes: Axes, history: History) -> None:
    """Draw a moving average over a part of an epoch, each value at the place of its last step."""
    if not history.steps:
        return
    epochs, numbers, losses = (np.array(values) for values in zip(*history.steps, strict=True))
    whole = numbers.max()
    window = max(1, min(whole // SMOOTHED, len(losses)))
    smooth = np.convolve(losses, np.full(window, 1 / window), "valid")
    places = epochs - 1 + numbers / whole
    label = f"training, mean of {window} steps" if window > 1 else "training, each step"
    axes.plot(places[window - 1 :], smooth, color=BLUE, linewidth=0.8, alpha=0.7, label=label)


def _draw_epochs(axes: Axes, history: History, figure: str) -> None:
    for part, colour, marker in LINES:
        numbers, values = history.of(f"{part}_{figure}")
        if numbers:
            label = "training, mean of the epoch" if part == "train" else part
            axes.plot(numbers, values, color=colour, marker=marker, markersize=4, linewidth=1.2, label=label)
            if figure == "accuracy":
                best = int(np.argmax(values))
                axes.annotate(
                    *(f"{values[best]:.2%}", (numbers[best], values[best]), (0, 5)),
                    textcoords="offset points",
                    ha="center",
                    size=8,
                    color=colour,
                )
