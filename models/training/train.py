"""One training run, from settings and data to a run folder."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

import fastconv
from fastconv.errors import UnsupportedError
from models.backends import label
from models.data.dataset import Dataset
from models.errors import StoppedError, TrainingError
from models.training.loop import Step, begin, epoch_steps, score
from models.training.progress import TrainingProgress
from models.training.run_folder import run_folder
from models.training.settings import Settings


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: mean training loss, loss and accuracy (0..1) on the test images, and speed.

    ``seconds`` are those of the training steps; testing is not in them.
    """

    number: int
    train_loss: float
    test_loss: float
    test_accuracy: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: its folder, its epochs, the number of trained parameters."""

    path: Path
    epochs: list[Epoch]
    parameters: int


def train(settings: Settings, dataset: Dataset, console: Console, run_dir: Path | None = None) -> TrainedRun:
    """Train as ``settings`` say, into ``run_dir`` or a new folder under ``runs``; see :mod:`.run_folder`.

    Raises ModelsError for images the network isn't made for and for a folder that can't be used,
    TrainingError when the loss gets lost, the backend can't do a layer or the folder can't be written to, and
    StoppedError on Ctrl-C.
    """
    model, optimizer = begin(settings, dataset.shape, len(dataset.classes))
    recipe = settings.recipe
    epochs: list[Epoch] = []
    what = f"{settings.network}-{settings.backend}"
    name = f"{label(what)}-{datetime.now():%Y%m%d-%H%M%S}"
    total = recipe.epochs * len(dataset.train_labels)
    try:
        with run_folder(run_dir, name) as run, TrainingProgress(console, what, total) as progress:
            run.save_config(_config(settings, dataset))
            for number in range(1, recipe.epochs + 1):
                title = f"epoch {number}/{recipe.epochs}"
                progress.describe(title)
                steps: list[Step] = []
                for step in epoch_steps(model, optimizer, dataset, recipe.batch_size, settings.seed, number):
                    steps.append(step)
                    run.log(event="step", epoch=number, step=len(steps), **step._asdict())
                    progress.advance(step.images, step.loss)
                progress.describe(f"{title}, testing")
                epoch = _epoch(number, steps, *score(model, dataset.test_images, dataset.test_labels))
                run.save_weights(model.state_dict())
                epochs.append(epoch)
                run.log(event="epoch", **asdict(epoch))
                progress.say(
                    f"{title}  loss {epoch.train_loss:.4f}  test accuracy {epoch.test_accuracy:.2%}  "
                    f"{epoch.images_per_second:,.0f} images/s  {epoch.seconds:.1f} s"
                )
            run.log(event="end", epochs=len(epochs))
    except UnsupportedError as error:
        raise TrainingError(str(error)) from error
    except OSError as error:
        raise TrainingError(f"the run can't be written ({error}); make room, or choose with --run-dir") from error
    except KeyboardInterrupt:
        kept = f"its weights and log are in {run.path}" if epochs else "nothing was kept"
        raise StoppedError(f"stopped after {len(epochs)} of {recipe.epochs} epochs; {kept}") from None
    return TrainedRun(run.path, epochs, sum(weight.numel() for weight in model.parameters()))


def _epoch(number: int, steps: list[Step], test_accuracy: float, test_loss: float) -> Epoch:
    images = sum(step.images for step in steps)
    seconds = sum(step.seconds for step in steps)
    loss = sum(step.loss * step.images for step in steps) / images
    return Epoch(number, loss, test_loss, test_accuracy, seconds, images / seconds)


def _config(settings: Settings, dataset: Dataset) -> dict[str, object]:
    """All that is needed to know the run again."""
    return {
        **asdict(settings),
        "dataset": {
            "name": dataset.name,
            "shape": dataset.shape,
            "classes": dataset.classes,
            "train_images": len(dataset.train_labels),
            "test_images": len(dataset.test_labels),
            "mean": dataset.mean,
            "deviation": dataset.deviation,
        },
        "threads_used": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "fastconv": fastconv.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "safetensors": version("safetensors"),
        },
    }
