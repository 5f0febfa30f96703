"""Trains a new run, or goes on with one that was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from fastconv.errors import UnsupportedError
from fastconv.models.backends import label
from fastconv.models.data.checksum import checksum
from fastconv.models.data.dataset import Dataset
from fastconv.models.data.source import Source
from fastconv.models.errors import ModelsError, TrainingError
from fastconv.models.training.bystander import shared
from fastconv.models.training.config import Config, describe, identity
from fastconv.models.training.distributed import ALONE, Group
from fastconv.models.training.position import Epoch
from fastconv.models.training.run import Run
from fastconv.models.training.run_folder import RunFolder, new_run, old_run
from fastconv.models.training.settings import Settings
from fastconv.models.training.stopping import stop_wish


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: its folder, its epochs, the one whose weights were kept, trained parameters, images held out."""

    path: Path
    epochs: list[Epoch]
    kept: Epoch
    parameters: int
    held: int


def train(
    settings: Settings,
    dataset: Dataset,
    console: Console,
    run_dir: Path | None = None,
    source: Source | None = None,
    group: Group = ALONE,
) -> TrainedRun:
    """Train as ``settings`` say, into ``run_dir`` or a new folder under ``runs``; see :mod:`.run_folder`.

    ``source`` is where to find ``dataset`` again; without it, going on with the run needs the data to be named.

    Raises ModelsError for images the network isn't made for and for a folder that can't be used,
    TrainingError when the loss gets lost, the backend can't do a layer or the folder can't be written to, and
    StoppedError on Ctrl-C and SIGTERM.
    """
    run = Run(settings, dataset, console, group)
    config = describe(settings, dataset, source)
    name = f"{label(f'{settings.network}-{settings.backend}')}-{datetime.now():%Y%m%d-%H%M%S}"
    with _one_line_errors(), stop_wish() as wish, shared(new_run(run_dir, name, config), group) as folder:
        run.go(folder, identity(config), wish)
    return _trained(run, folder)


def resume(
    path: Path, settings: Settings, config: Config, dataset: Dataset, console: Console, group: Group = ALONE
) -> TrainedRun:
    """Go on with the run in the folder ``path``, from its checkpoint or, where there is none yet, from its start.

    ``config`` is the run's own, ``settings`` are those of it with what may differ: backend, device, threads, epochs.
    All but speeds is then as if the run had never been stopped. A finished run is left as it is.

    Raises what :func:`train` does, and ModelsError for another data set than the run's, for a checkpoint that is
    damaged or foreign, and for a run that another process is writing.
    """
    if checksum(dataset) != config.whole["dataset"]["sha256"]:
        named = "name the one that the run began with by --dataset and --data-dir"
        raise ModelsError(f"{path}: began with other images than those of {dataset.name} here; {named}")
    run = Run(settings, dataset, console, group)
    whole = {**config.whole, "recipe": asdict(settings.recipe)}
    with _one_line_errors(), stop_wish() as wish, shared(old_run(path), group) as folder:
        run.enter(folder, identity(whole))
        if settings.recipe != config.settings.recipe:
            folder.save_config(whole)
        if settings.backend != config.settings.backend and not run.over:
            folder.log(event="resume", backend=settings.backend)
        console.print(f"{path}: {run.standing}", soft_wrap=True, highlight=False)
        run.go(folder, identity(whole), wish)
    return _trained(run, folder)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except UnsupportedError as error:
        raise TrainingError(str(error)) from error
    except OSError as error:
        raise TrainingError(
            f"the run can't be written ({error}); make room and go on with --resume, or begin elsewhere with --run-dir"
        ) from error


def _trained(run: Run, folder: RunFolder) -> TrainedRun:
    weights = sum(weight.numel() for weight in run.training.model.parameters())
    return TrainedRun(folder.path, run.position.epochs, run.position.kept(), weights, run.held)
