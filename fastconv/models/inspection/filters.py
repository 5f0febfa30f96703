"""The filters of a network's first convolution, before and after training, on one scale."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import nn

from fastconv.models.errors import ModelsError
from fastconv.models.inspection.montage import Maps, montage
from fastconv.models.inspection.style import SIGNED, bare, style
from fastconv.models.inspection.trained import Trained


def filters_picture(run: Trained) -> Figure:
    """Returns the picture of both sets: blue is negative, red positive; filters of three channels are in colours.

    With other numbers of channels the mean is shown. Raises ModelsError for a network without convolutions.
    """
    name, before = first_filters(run.untrained(), run.facts.network)
    _, after = first_filters(run.model, run.facts.network)
    most = max(float(np.abs(before).max()), float(np.abs(after).max())) or 1.0
    columns = math.ceil(math.sqrt(len(before)))
    height = 3.2 * math.ceil(len(before) / columns) / columns
    coloured = before.ndim == 4
    size = f"{len(before)} of {before.shape[1]} x {before.shape[2]}"
    with style():
        figure = Figure((7.5, height + (0.9 if coloured else 1.5)), layout=ConstrainedLayoutEngine(wspace=0.08))
        figure.suptitle(f"{run.facts.network}, filters of {name}: {size}", x=0.01, ha="left", weight="bold", size=10)
        panels = figure.subplots(1, 2)
        for axes, title, maps in zip(panels, ("before training", "after training"), (before, after), strict=True):
            shown = montage(maps, columns)
            if coloured:
                shown = np.nan_to_num((shown / most + 1) / 2, nan=1.0)
            image = axes.imshow(shown, cmap=SIGNED, vmin=-most, vmax=most, interpolation="nearest")
            axes.set_title(title, weight="normal")
            bare(axes)
        if not coloured:
            bar = figure.colorbar(image, ax=panels, location="bottom", fraction=0.05, shrink=0.4, aspect=30)
            bar.set_label("weight")
            bar.outline.set_visible(False)
    return figure


def first_filters(model: nn.Module, network: str) -> tuple[str, Maps]:
    """Returns the first convolution's name and its filters, (K, R, S), or (K, R, S, 3) if it reads three channels."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            weight = layer.weight.detach()  # (K, C, R, S)
            return name, (weight.permute(0, 2, 3, 1) if weight.shape[1] == 3 else weight.mean(1)).numpy()
    raise ModelsError(f"{network} has no convolution, and so no filters to show")
