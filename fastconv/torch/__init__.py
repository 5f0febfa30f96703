"""fastconv for torch users: functions on tensors with gradients, drop-in layers, and the swap of a whole model.

from fastconv.torch import Conv2d, convert, functional as F

y = F.conv2d(x, weight, bias, padding=1)       # autograd, double backward, torch.compile
layer = Conv2d(3, 16, 3, backend="naive")      # torch.nn.Conv2d with one more argument
block = ConvBlock2d(3, 16, 3, activation="relu", pool="max")   # three layers in one step
model = Sequential(block, nn.Flatten(), nn.Linear(16 * 13 * 13, 10))   # and all of this
model = convert(model)                         # in place; revert(model) undoes it
model = convert(model, tune=x)                 # only the layers that are faster so, on this machine and batch
model = torch.compile(model, backend="fastconv")   # the functions that a model calls by itself, too
plan = plan_network(model.eval(), x)                # y = plan(x): one shape, no gradients, no look at the model
print(report(model, x))                        # each layer's time in torch and in fastconv
"""

import importlib.util

if importlib.util.find_spec("torch") is None:
    raise ModuleNotFoundError("fastconv.torch needs torch: pip install 'fastconv[torch]'", name="torch")

from fastconv.torch import flops as _flops  # noqa: F401  registers the formulas
from fastconv.torch import functional
from fastconv.torch import team as _team
from fastconv.torch.blocks import ConvBlock2d, conv2d_block
from fastconv.torch.convert import convert
from fastconv.torch.modules import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    Conv1d,
    Conv2d,
    ConvTranspose1d,
    ConvTranspose2d,
    MaxPool1d,
    MaxPool2d,
)
from fastconv.torch.network_plan import NetworkPlan, plan_network
from fastconv.torch.report import Report, report
from fastconv.torch.sequential import Sequential
from fastconv.torch.swapping import revert

__all__ = [
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "Conv1d",
    "Conv2d",
    "ConvBlock2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "MaxPool1d",
    "MaxPool2d",
    "NetworkPlan",
    "Report",
    "Sequential",
    "conv2d_block",
    "convert",
    "functional",
    "plan_network",
    "report",
    "revert",
]

_team.lend()
