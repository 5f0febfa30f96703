"""Torch's threads sleep soon where fastconv computes the layers, unless the environment says otherwise."""

from __future__ import annotations

import os

import pytest

from fastconv.models import networks
from fastconv.models.waits import SPINS, TORCHS_OWN, short_waits
from fastconv.torch.modules import Layer


@pytest.mark.parametrize(
    ("network", "layers_on", "environment", "says"),
    [
        ("lenet5", None, {}, {"GOMP_SPINCOUNT": SPINS}),
        (None, "numba", {}, {"GOMP_SPINCOUNT": SPINS}),
        ("lenet5", "numba,conv2=torch", {}, {"GOMP_SPINCOUNT": SPINS}),
        ("mlp", "numba", {}, {}),
        ("lenet5", "torch", {}, {}),
        ("lenet5", "torch,conv1=numba", {}, {}),
        ("lenet5", "numba", {"GOMP_SPINCOUNT": "7"}, {}),
        ("lenet5", "numba", {"OMP_WAIT_POLICY": "ACTIVE"}, {}),
    ],
)
def test_who_waits_how_long(
    network: str | None,
    layers_on: str | None,
    environment: dict[str, str],
    says: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", dict(environment))
    assert short_waits(network, layers_on) == says


def test_networks_of_torch_alone_are_known() -> None:
    shapes = {"four_layer_cnn": (1, 64, 64)}
    for name in networks.names():
        model = networks.load(name).build(shapes.get(name, (1, 28, 28)), 10, "torch")
        assert any(isinstance(layer, Layer) for layer in model.modules()) == (name not in TORCHS_OWN)
