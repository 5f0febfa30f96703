"""The peers of `fastconv.bench.contestants` that run a network exported to ONNX, forwards only."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from fastconv.bench import contestants
from fastconv.bench.contestants import NetworkContestant
from fastconv.bench.networks.passes import Pass


def export(model: nn.Module, x: Tensor, path: Path) -> Path:
    """Write ``model``, for inputs of the shape of ``x``, as an ONNX file; its weights may lie beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, of what it will change one day
        torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
    return path


def session(name: str, path: Path, x: Tensor, threads: int) -> Pass:
    """The network of ``path`` on the peer ``name``, by its adapter in `fastconv.bench.contestants`."""
    peer = cast(NetworkContestant, contestants.make(name, threads))
    call = peer.network(path, x.numpy())
    return Pass(lambda: [torch.from_numpy(each) for each in peer.arrays(call())], call)
