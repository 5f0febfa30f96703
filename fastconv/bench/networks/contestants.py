"""Who runs a network: torch in three ways, peers such as onnxruntime and OpenVINO, and fastconv in four.

torch                 as it comes: contiguous tensors, layer by layer
torch.channels_last   weights and images in that layout
torch.inductor        `torch.compile`, which needs a C++ compiler; in inference with its weights frozen
onnxruntime, openvino the network exported to ONNX, forwards only
fastconv.converted    `fastconv.torch.convert(model)`
fastconv.fused        the same with ``fuse=True``
fastconv.tuned        the same with ``fuse=True`` and ``tune`` with the batch as the example
fastconv.compiled     ``torch.compile(model, backend="fastconv")``
fastconv.planned      ``fastconv.torch.plan_network(model, x)``: inference only, like a session of the engines
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastconv.bench import contestants as table
from fastconv.bench.networks import passes, peers, zoo
from fastconv.bench.networks.passes import INFERENCE, Material, Pass
from fastconv.bench.networks.zoo import Subject
from fastconv.bench.results import REFERENCE

CHANNELS_LAST, INDUCTOR = "torch.channels_last", "torch.inductor"
EXPORTERS = ("onnx", "onnxscript")
"""The packages that write a network as an ONNX file."""

COMPILED, PLANNED = "fastconv.compiled", "fastconv.planned"
OURS = ("fastconv.converted", "fastconv.fused", "fastconv.tuned", COMPILED, PLANNED)


def installed() -> list[str]:
    """The peers that can take part here."""
    return [CHANNELS_LAST, INDUCTOR, *forwards_only()]


def forwards_only() -> list[str]:
    """The peers that run exported networks here."""
    known = table.entries() if table.installed(*EXPORTERS) else {}
    return [name for name, entry in known.items() if entry.networks]


def taking_part(mode: str, chosen: list[str]) -> list[str]:
    """Everyone, plain torch first, with the peers ``chosen`` as far as they can do that."""
    others = [name for name in chosen if mode == INFERENCE or name not in forwards_only()]
    return [REFERENCE, *others, *(name for name in OURS if mode == INFERENCE or name != PLANNED)]


def prepare(
    name: str, subject: Subject, mode: str, material: Material, folder: Path, threads: int, begin: Callable[[], None]
) -> Pass:
    """The contestant's way to run the network. ``begin`` is called before what it keeps in memory is made."""
    if name in forwards_only():
        model = _model(subject, mode, material)
        path = peers.export(model, material.x, folder / f"{name}.onnx")
        del model
        begin()
        return peers.session(name, path, material.x, threads)
    begin()
    x, labels = material.x.clone(), material.labels
    model = _model(subject, mode, material)
    if name == CHANNELS_LAST:
        layout: dict[str, Any] = {"memory_format": torch.channels_last}
        model, x = model.to(**layout), x.contiguous(**layout)
    forward: Callable[[Tensor], object] = model
    if name == COMPILED:
        from fastconv.torch.graphs import backend

        forward = torch.compile(model, backend=backend)
    elif name == PLANNED:
        from fastconv.torch import plan_network

        forward = plan_network(model, x)
    elif name in OURS:
        forward = model = _converted(name, model, x)
    if name == INDUCTOR:
        forward = torch.compile(model, options={"freezing": True} if mode == INFERENCE else None)
    return passes.inference(forward, x) if mode == INFERENCE else passes.training(model, forward, x, labels)


def _model(subject: Subject, mode: str, material: Material) -> nn.Module:
    model = zoo.build(subject).train(mode != INFERENCE)
    model.load_state_dict(material.state)
    return model


def _converted(name: str, model: nn.Module, x: Tensor) -> nn.Module:
    from fastconv.torch import convert

    if name == "fastconv.converted":
        return convert(model)
    if name == "fastconv.fused":
        return convert(model, fuse=True)
    if "tune" not in inspect.signature(convert).parameters:
        raise RuntimeError("this version's convert has no tune=")
    tuned: Callable[..., nn.Module] = convert
    return tuned(model, fuse=True, tune=x)
