"""The first convolution's filters, before and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fastconv.models import networks
from fastconv.models.errors import ModelsError
from fastconv.models.inspection.filters import filters_picture, first_filters
from fastconv.models.inspection.trained import open_run


def drawn(axes: object) -> list[float]:
    return sorted(np.asarray(axes.images[0].get_array().compressed()).tolist())  # type: ignore[attr-defined]


def test_both_sets_on_one_scale(run: Path) -> None:
    opened = open_run(str(run))
    figure = filters_picture(opened)
    before, after = figure.axes[:2]
    assert drawn(before) == sorted(opened.untrained().conv1.weight.flatten().tolist())
    assert drawn(after) == sorted(opened.model.conv1.weight.flatten().tolist())
    assert drawn(before) != drawn(after)
    limits = {axes.images[0].norm.vmax for axes in (before, after)}
    assert limits == {max(abs(value) for axes in (before, after) for value in drawn(axes))}


def test_first_of_all_layers() -> None:
    name, filters = first_filters(networks.load("inception").build((1, 28, 28), 10, "torch"), "inception")
    assert (name, filters.shape) == ("conv1", (10, 5, 5))


def test_three_channels_are_colours() -> None:
    model = networks.load("sequential_cnn").build((3, 28, 28), 10, "torch")
    _, filters = first_filters(model, "sequential_cnn")
    weight = model.layers[0].weight.detach().numpy()
    assert filters.shape == (10, 3, 3, 3)
    assert filters[4, 0, 2, 1] == weight[4, 1, 0, 2]


def test_colours_are_drawn(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_run(str(run))
    coloured = networks.load("sequential_cnn").build((3, 28, 28), 10, "torch")
    monkeypatch.setattr(type(opened), "untrained", lambda _: coloured)
    object.__setattr__(opened, "model", coloured)
    image = np.asarray(filters_picture(opened).axes[0].images[0].get_array())
    assert image.shape == (3 * 4 - 1, 4 * 4 - 1, 3)  # ten filters, four in a row
    assert 0 <= image.min() < image.max() <= 1


def test_none_at_all() -> None:
    with torch.device("meta"), pytest.raises(ModelsError, match="mlp has no convolution"):
        first_filters(networks.load("mlp").build((1, 28, 28), 10, "torch"), "mlp")
