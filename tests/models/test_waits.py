"""Torch's threads sleep soon where fastconv computes the layers, unless the environment says otherwise."""

from __future__ import annotations

import os

import pytest

from models.waits import SPINS, short_waits


@pytest.mark.parametrize(
    ("backend", "environment", "says"),
    [
        (None, {}, {"GOMP_SPINCOUNT": SPINS}),
        ("numba,conv2=torch", {}, {"GOMP_SPINCOUNT": SPINS}),
        ("torch", {}, {}),
        ("torch,conv1=numba", {}, {}),
        ("numba", {"GOMP_SPINCOUNT": "7"}, {}),
        ("numba", {"OMP_WAIT_POLICY": "ACTIVE"}, {}),
    ],
)
def test_who_waits_how_long(
    backend: str | None, environment: dict[str, str], says: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(environment))
    assert short_waits(backend) == says
