"""Whole networks of other people, converted: outputs, gradients of every parameter and training steps are torch's."""

from __future__ import annotations

import copy
import importlib
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import fastconv.torch as fct
from fastconv.bench.networks import vision
from fastconv.torch.modules import Layer

models = vision.models()
# It imports torchvision, which `vision` made ready.
timm = importlib.import_module("timm")


def _generator() -> nn.Module:
    """DCGAN's generator."""
    layers: list[nn.Module] = []
    for C, K, stride, padding in ((100, 32, 1, 0), (32, 16, 2, 1), (16, 8, 2, 1)):
        layers += nn.ConvTranspose2d(C, K, 4, stride, padding, bias=False), nn.BatchNorm2d(K), nn.ReLU(True)
    return nn.Sequential(*layers, nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False), nn.Tanh())


def _discriminator() -> nn.Module:
    """DCGAN's, with its in-place activations behind convolutions."""
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for C, K in ((8, 16), (16, 32)):
        layers += nn.Conv2d(C, K, 4, 2, 1, bias=False), nn.BatchNorm2d(K), nn.LeakyReLU(0.2, inplace=True)
    return nn.Sequential(*layers, nn.Conv2d(32, 1, 4, bias=False), nn.Flatten())


class _Residual(nn.Module):
    """EDSR's block: the sum is taken in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(True), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        y *= 0.1
        y += x
        return y


def _super_resolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        _Residual(8),
        _Residual(8),
        nn.Conv2d(8, 32, 3, padding=1),
        nn.PixelShuffle(2),
        nn.Conv2d(8, 3, 3, padding=1),
    )


def _of(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(models, name)(weights=None, num_classes=7, **options)


def _features(name: str) -> Callable[[], nn.Module]:
    """Without the linear layers at its end, which are most of its parameters."""
    return lambda: nn.Sequential(getattr(models, name)(weights=None).features, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _timm(name: str) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=7, drop_rate=0.0)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "alexnet": (_features("alexnet"), (2, 3, 64, 64)),
    "densenet121": (_of("densenet121"), (3, 3, 64, 64)),
    "efficientnet_b0": (_of("efficientnet_b0"), (3, 3, 64, 64)),
    "googlenet": (_of("googlenet", aux_logits=False, init_weights=False), (3, 3, 64, 64)),
    "mobilenet_v2": (_of("mobilenet_v2"), (3, 3, 64, 64)),
    "mobilenet_v3_small": (_of("mobilenet_v3_small"), (3, 3, 64, 64)),
    "resnet18": (_of("resnet18"), (3, 3, 64, 64)),
    "resnext50": (_of("resnext50_32x4d"), (3, 3, 64, 64)),
    "shufflenet_v2": (_of("shufflenet_v2_x1_0"), (3, 3, 64, 64)),
    "squeezenet1_1": (_of("squeezenet1_1"), (2, 3, 64, 64)),
    "vgg16": (_features("vgg16"), (1, 3, 32, 32)),
    "convnext_atto": (_timm("convnext_atto"), (2, 3, 64, 64)),
    "ghostnet": (_timm("ghostnet_050"), (3, 3, 64, 64)),
    "mobilenetv4": (_timm("mobilenetv4_conv_small"), (3, 3, 64, 64)),
    "regnetx": (_timm("regnetx_002"), (3, 3, 64, 64)),
    "DCGAN's generator": (_generator, (2, 100, 1, 1)),
    "DCGAN's discriminator": (_discriminator, (2, 3, 32, 32)),
    "EDSR": (_super_resolution, (2, 3, 12, 12)),
}


ALIKE = {"efficientnet_b0", "googlenet", "mobilenetv4", "mobilenet_v3_small", "regnetx", "resnext50", "shufflenet_v2"}
"""Networks of layers that the others have too."""


def still(model: nn.Module) -> nn.Module:
    """The model without what is drawn by chance in training."""
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
        if hasattr(layer, "drop_prob") or type(layer).__name__ == "StochasticDepth":
            layer.eval()
            layer.train = lambda mode=True, itself=layer: itself  # type: ignore[method-assign, misc]
    return model


def _steps(model: nn.Module, x: torch.Tensor) -> list[Any]:
    """Losses, gradients and parameters over two steps of training, and what the trained model gives in eval mode."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    found: list[Any] = []
    model.train()
    for _ in range(2):
        optimizer.zero_grad()
        y = model(x)
        loss = y.square().mean() + y.sin().mean()
        loss.backward()
        found.append((loss.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
        optimizer.step()
    found.append({name: value.clone() for name, value in model.state_dict().items()})
    model.eval()
    with torch.no_grad():
        found.append(model(x))
    return found


def _assert_alike(actual: Any, expected: Any) -> None:
    """To rounding, which batch normalisation over few pixels makes larger."""
    if isinstance(expected, torch.Tensor):
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        scale = float(expected.abs().max()) if expected.numel() else 0.0
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6 * scale + 1e-9)
    elif isinstance(expected, dict):
        assert list(actual) == list(expected)
        _assert_alike(list(actual.values()), list(expected.values()))
    else:
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            _assert_alike(one, other)


@pytest.mark.filterwarnings("ignore")  # theirs, about themselves
@pytest.mark.parametrize("fuse", [False, True], ids=["layers", "fused"])
@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=[pytest.mark.long] if name in ALIKE else []) for name in NETWORKS]
)
def test_a_converted_network_is_the_same_network(network: str, fuse: bool) -> None:
    make, shape = NETWORKS[network]
    torch.manual_seed(0)
    plain = still(make()).double()
    mine = fct.convert(copy.deepcopy(plain), "numba", fuse=fuse)
    assert any(isinstance(layer, Layer) for layer in mine.modules())
    x = torch.randn(shape, dtype=torch.float64)

    file = io.BytesIO()
    torch.save(mine.state_dict(), file)
    file.seek(0)
    loaded = copy.deepcopy(mine)
    loaded.load_state_dict(torch.load(file, weights_only=True))

    expected = _steps(plain, x)
    for model in (mine, loaded):
        _assert_alike(_steps(model, x), expected)
    fct.revert(mine)
    assert not any(isinstance(layer, Layer) for layer in mine.modules())
