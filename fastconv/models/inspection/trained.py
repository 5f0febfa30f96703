"""A trained run is opened here: the network with its weights, and the facts that are needed to show it images.

A run is a folder as :mod:`fastconv.models.training.run_folder` writes it. Some come along, in
``fastconv/models/trained``, and go by their names. Nothing in a folder is trusted: the network is laid out without
memory, and gets its weights if they fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fastconv.models.backends import parse
from fastconv.models.data.images import Preparation
from fastconv.models.errors import ModelsError
from fastconv.models.inspection.facts import Facts, read_facts
from fastconv.models.training.run_folder import CONFIG, WEIGHTS

KEPT = Path(__file__).parent.parent / "trained"
"""The folder of the runs that come with the project, a folder each."""
ANY_BACKEND = "auto"


@dataclass(frozen=True)
class Trained:
    """An open run: its folder, its facts, and ``model``, which is ready to recognise images on ``backend``."""

    path: Path
    facts: Facts
    backend: str
    model: nn.Module

    @property
    def came_along(self) -> bool:
        """Returns True if the run is one of the project's own, whose folder is left as it is."""
        return self.path.resolve().parent == KEPT.resolve()

    def untrained(self) -> nn.Module:
        """Returns the network with its weights of before the first step."""
        torch.manual_seed(self.facts.seed)
        return self.facts.build(self.backend).eval()

    def normalised(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        """Returns pixels 0..255, (N, C, H, W), as the network takes them: scaled and normalised as training images
        were."""
        return Preparation(self.facts.shape, self.facts.mean, self.facts.deviation)(torch.from_numpy(pixels))

    def pixels(self, images: Tensor) -> npt.NDArray[np.uint8]:
        """Returns normalised images (N, C, H, W) as pixels 0..255."""
        shades: npt.NDArray[np.uint8] = (
            ((images * self.facts.deviation + self.facts.mean) * 255).round().clamp(0, 255).byte().numpy()
        )
        return shades

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Returns the classes' probabilities (N, classes) for normalised images (N, C, H, W)."""
        # Some networks end in log_softmax; another softmax leaves its probabilities as they are.
        result: Tensor = self.model(images).softmax(1)
        return result


def open_run(run: str, backend: str | None = None) -> Trained:
    """Returns the run in the folder ``run``, or the project's own run of that name.

    It computes on ``backend``, else on the one it was trained with, else, if that can't run here, on fastconv's choice.
    Weights in half precision become float32.

    Raises ModelsError where there is no such run, where one of its files is missing, damaged or of something else,
    where the weights don't fit the network or aren't numbers, and for a backend that isn't or can't run here.
    """
    path = find(run)
    facts = read_facts(path / CONFIG)
    chosen = str(parse(backend)) if backend is not None else _available(facts.backend)
    try:
        with torch.device("meta"):
            model = facts.build(chosen)
    except ModelsError as error:
        raise ModelsError(f"{path / CONFIG}: {error}") from None
    _fill(model, path / WEIGHTS, facts.network)
    return Trained(path, facts, chosen, model.eval())


def names() -> list[str]:
    """Returns the names of the project's own runs, sorted."""
    return sorted(path.parent.name for path in KEPT.glob(f"*/{CONFIG}"))


def find(run: str) -> Path:
    """Returns the folder that ``run`` means: a path, which comes first, or the name of a run of the project's."""
    path = Path(run)
    if path.is_dir():
        return path
    if path.exists():
        raise ModelsError(f"{run}: is a file; RUN is the folder that `train` made")
    if run in names():
        return KEPT / run
    known = ", ".join(names())
    raise ModelsError(f"{run}: no such folder, and no run that comes along ({known}); `train` makes one, under runs/")


def _available(backend: str) -> str:
    try:
        return str(parse(backend))
    except ModelsError:
        return ANY_BACKEND


def _fill(model: nn.Module, path: Path, network: str) -> None:
    """Give ``model``, laid out on torch's device ``meta``, the weights in the file ``path``."""
    try:
        weights = safetensors.torch.load(path.read_bytes())
    except OSError as error:
        raise ModelsError(
            f"{path}: can't be read ({error.strerror}); an epoch must be over before a run has it"
        ) from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelsError(f"{path}: isn't a file of weights, or is damaged ({error}); train again") from None
    wanted = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    given = {name: tuple(weight.shape) for name, weight in weights.items()}
    if wanted != given:
        name = next(name for name in sorted(wanted | given) if wanted.get(name) != given.get(name))
        here, there = (" x ".join(map(str, shapes[name])) if name in shapes else "none" for shapes in (wanted, given))
        raise ModelsError(f"{path}: doesn't fit {network}, whose {name} is {here}; the file's is {there}")
    for name, weight in weights.items():
        if not weight.is_floating_point() or not weight.isfinite().all():
            raise ModelsError(f"{path}: {name} isn't all numbers; train again, with a smaller --learning-rate")
    model.load_state_dict({name: weight.float() for name, weight in weights.items()}, assign=True)
