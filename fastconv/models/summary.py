"""A summary lists a network's layers: result, parameters and multiply-adds of each, for one image.

torchinfo counts multiply-adds by the size of a layer's result, which is wrong for a layer that pools it: 150,110 for
LeNet-5 instead of 416,520.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from fastconv.arguments import conv_geometry, conv_parameters
from fastconv.models import networks
from fastconv.models.recipes import CLASSES, ImageShape


@dataclass(frozen=True)
class Layer:
    """A layer as a row: its name in the network, its kind, its result's shape without the batch, and two counts."""

    name: str
    kind: str
    result: tuple[int, ...]
    parameters: int
    multiply_adds: int


def layers(network: str, shape: ImageShape) -> list[Layer]:
    """Returns the layers, for ten classes, in the order in which one image of ``shape`` meets them.

    Raises ModelsError for an unknown network and for images it isn't made for.
    """
    model = networks.load(network).build(shape, CLASSES, "auto").eval()
    found: list[Layer] = []

    def record(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
            parameters = sum(weight.numel() for weight in module.parameters())
            kind = type(module).__name__
            found.append(Layer(name, kind, tuple(result.shape[1:]), parameters, _multiply_adds(module, given[0])))

        return hook

    handles = [
        module.register_forward_hook(record(name, module))
        for name, module in model.named_modules()
        if not any(module.children())
    ]
    with torch.no_grad():
        model(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return found


def summary_table(network: str, shape: ImageShape) -> Table:
    """Returns the layers as a table for people, with the totals at the bottom."""
    rows = layers(network, shape)
    table = Table(
        title=f"{network}: {networks.load(network).summary}",
        caption=f"for one image of {' x '.join(map(str, shape))}, and {CLASSES} classes; "
        "pooled and activated in the layer where it says so",
        title_justify="left",
        caption_justify="left",
        show_footer=True,
    )
    table.add_column("layer", footer="all", overflow="fold")
    table.add_column("kind")
    table.add_column("result")
    table.add_column("parameters", justify="right", footer=f"{sum(row.parameters for row in rows):,}")
    table.add_column("multiply-adds", justify="right", footer=f"{sum(row.multiply_adds for row in rows):,}")
    for row in rows:
        result = " x ".join(map(str, row.result))
        table.add_row(row.name, row.kind, result, f"{row.parameters:,}", f"{row.multiply_adds:,}")
    return table


def _multiply_adds(module: nn.Module, x: Tensor) -> int:
    """Returns the multiply-adds of a convolution or a linear layer; those of other layers aren't counted."""
    if isinstance(module, nn.Conv2d):
        weight = tuple(module.weight.shape)
        how = conv_parameters((weight[2], weight[3]), module.stride, module.padding, module.dilation, module.groups)
        return conv_geometry(tuple(x.shape), weight, None, how).flops // 2
    return module.in_features * module.out_features if isinstance(module, nn.Linear) else 0
