"""A checkpoint: one safetensors file of all that a training needs to go on bit for bit.

    model.NAME            each weight
    optimizer.NAME.STATE  what the optimiser remembers of it
    metadata "run"        JSON: the format's version, the run it is of, the position, the length of the log, and the
                          scale of float16's gradients
    metadata "sha256"     of all the above

Schedules, orders, augmentation and dropout depend on the seed and the position alone, so they have nothing here. No
file is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fastconv.models.errors import ModelsError
from fastconv.models.training.loop import Training
from fastconv.models.training.position import Position
from fastconv.models.training.records import record

VERSION = 1
MEMORY = {"adam": ("exp_avg", "exp_avg_sq", "step"), "sgd": ("momentum_buffer",)}
"""What an optimiser remembers of a weight, by torch's names; ``step`` is one number, the others are like the weight."""


@dataclass(frozen=True)
class _Log:
    log_length: int


def pack(training: Training, position: Position, identity: Mapping[str, object], log_length: int) -> bytes:
    """Returns the file's content, for the run that :func:`fastconv.models.training.config.identity` describes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(training).items()}
    facts = {
        "version": VERSION,
        "identity": identity,
        "position": asdict(position),
        "log_length": log_length,
        "scaler": training.scaler.state_dict() if training.scaler else None,
    }
    text = json.dumps(facts)
    return safetensors.torch.save(tensors, {"run": text, "sha256": _checksum(text, tensors)})


def restore(content: bytes, path: Path, training: Training, identity: Mapping[str, object]) -> tuple[Position, int]:
    """Put ``training``, as it began, where the checkpoint is; the position, and the length of the log then.

    ``path`` is the file's, for messages. Raises ModelsError for a file that is damaged, of another program or version,
    of another run, or whose tensors don't suit the network.
    """
    facts, tensors = _read(content, path)
    try:
        told = facts["identity"]
        differs = [name for name, value in identity.items() if told.get(name) != value]
        if differs:
            name = differs[0]
            here = f"its {name} is {told.get(name)}, the run's {identity[name]}"
            raise ModelsError(f"{path}: is of another run ({here}); put the run's own checkpoint there")
        position = record(Position, facts["position"])
        length = record(_Log, facts, others=True).log_length
        if min(position.step, length) < 0 or [each.number for each in position.epochs] != [*range(1, position.epoch)]:
            raise ValueError("no such position")
        if training.scaler:
            training.scaler.load_state_dict(facts["scaler"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ModelsError(f"{path}: is no checkpoint of a training ({error}); put the run's own there") from None
    _check(tensors, training, path)
    _put(tensors, training)
    return position, length


def _read(content: bytes, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns the facts and the tensors of a file, if it is whole and of this version."""
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header.get("__metadata__", {})
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ModelsError(f"{path}: damaged, or no safetensors file ({error}); put back a whole one") from None
    text = metadata.get("run")
    if text is None or "sha256" not in metadata:
        raise ModelsError(f"{path}: a safetensors file, but no checkpoint of a training; put the run's own there")
    if metadata["sha256"] != _checksum(text, tensors):
        raise ModelsError(f"{path}: damaged, its content isn't what its checksum says; put back a whole one")
    facts = json.loads(text)
    if not isinstance(facts, dict) or facts.get("version") != VERSION:
        raise ModelsError(f"{path}: a checkpoint of another version; go on with the fastconv that wrote it")
    return facts, tensors


def _tensors(training: Training) -> dict[str, Tensor]:
    """Returns the training's tensors, by their names in the file."""
    tensors = {f"model.{name}": tensor for name, tensor in training.model.state_dict().items()}
    for name, weight in training.model.named_parameters():
        memory = training.optimizer.state.get(weight, {})
        tensors |= {f"optimizer.{name}.{key}": value for key, value in memory.items() if value is not None}
    return tensors


def _check(tensors: Mapping[str, Tensor], training: Training, path: Path) -> None:
    """Raises ModelsError where a tensor is missing, foreign, or of another shape or type than the network's."""
    wanted = {f"model.{name}": _form(tensor) for name, tensor in training.model.state_dict().items()}
    for name, weight in training.model.named_parameters():
        memory = {
            f"optimizer.{name}.{key}": ((), torch.float32) if key == "step" else _form(weight)
            for key in MEMORY[training.settings.recipe.optimizer]
        }
        if memory.keys() & tensors.keys():  # none before the optimiser's first step on it
            wanted |= memory
    names = sorted(wanted.keys() ^ tensors.keys())
    if names:
        has = "has no" if names[0] in wanted else "has a"
        raise ModelsError(f"{path}: {has} {names[0]}, unlike {training.settings.network}; put the run's own there")
    for name, form in wanted.items():
        if _form(tensors[name]) != form:
            (here, kind), (shape, dtype) = _form(tensors[name]), form
            raise ModelsError(f"{path}: {name} is {kind} {here}, {training.settings.network} has {dtype} {shape}")


def _put(tensors: Mapping[str, Tensor], training: Training) -> None:
    training.model.load_state_dict({name: tensors[f"model.{name}"] for name in training.model.state_dict()})
    fused = training.optimizer.defaults["fused"]
    for name, weight in training.model.named_parameters():
        prefix = f"optimizer.{name}."
        memory = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        if memory:
            training.optimizer.state[weight] = {
                key: value if key == "step" and not fused else value.to(weight.device) for key, value in memory.items()
            }


def _form(tensor: Tensor) -> tuple[tuple[int, ...], torch.dtype]:
    return tuple(tensor.shape), tensor.dtype


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {_form(tensors[name])}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
