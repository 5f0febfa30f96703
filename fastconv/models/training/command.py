"""The command ``train`` starts a new run or goes on with one, in all processes that torchrun started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

import fastconv.models.data
from fastconv.models.backends import parse as parse_backend
from fastconv.models.data.dataset import Dataset
from fastconv.models.data.source import Source
from fastconv.models.errors import ModelsError, StoppedError
from fastconv.models.screen import screen
from fastconv.models.training.config import Config, parse
from fastconv.models.training.distributed import Group, joined
from fastconv.models.training.run_folder import CONFIG, read_config
from fastconv.models.training.settings import Settings, check, settings
from fastconv.models.training.tables import training_table
from fastconv.models.training.train import resume, train

MAY_CHANGE = ("backend", "device", "threads", "epochs")
"""Settings that may change on resuming: they change roundings only, or how long the training goes on."""


def run_train(
    network: str | None,
    dataset: str | None,
    folders: tuple[Path | None, Path | None],
    form: tuple[int | None, int | None],
    run_dir: Path | None,
    resumed: Path | None,
    given: Mapping[str, Any],
) -> None:
    """Train, and print a summary in the process that leads.

    ``folders`` are the data's as named on the command line and by the environment; a run that goes on has its own,
    which comes before the environment's. ``form`` is the size and the channels that images are brought to; ``given``
    are arguments of :func:`fastconv.models.training.settings.settings` by name, None where nothing was said.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    with joined() as group:
        console = screen(quiet=not group.leads)
        named, fallback = folders
        source = Source(dataset or "mnist", _absolute(named or fallback), *form)
        try:
            if resumed is not None:
                sized = {name: value for name, value in zip(("size", "channels"), form, strict=True) if value}
                _refuse(network, run_dir, {**chosen, **sized})
                _resume(resumed, chosen, source if dataset else None, named, console, group)
            else:
                _train(network, chosen, source, run_dir, console, group)
        except StoppedError as error:
            if group.leads:
                raise
            raise SystemExit(error.exit_code) from None  # said once is enough


def _train(
    network: str | None, chosen: dict[str, Any], source: Source, run_dir: Path | None, console: Console, group: Group
) -> None:
    if network is None:
        raise ModelsError("name a network to train, see `list`, or a run to go on with by --resume")
    new = settings(network, **chosen)
    data = _load(source, console, group)
    known = replace(source, dataset=data.name) if source.dataset == "auto" else source
    run = train(new, data, console, run_dir, known, group)
    console.print(training_table(new, data, run))


def _resume(
    path: Path,
    chosen: dict[str, Any],
    source: Source | None,
    data_dir: Path | None,
    console: Console,
    group: Group,
) -> None:
    config = parse(group.spread(read_config(path) if group.leads else b""), path / CONFIG)
    continued = _continued(config, chosen, path)
    known = config.source
    if source is not None and known is not None:
        source = replace(source, size=known.size, channels=known.channels)
    source = source or known
    if source is None:
        raise ModelsError(f"{path}: doesn't tell where its images are from; name them by --dataset")
    if data_dir is not None:
        source = replace(source, data_dir=_absolute(data_dir))
    data = _load(source, console, group)
    run = resume(path, continued, config, data, console, group)
    console.print(training_table(continued, data, run))


def _continued(config: Config, chosen: Mapping[str, Any], path: Path) -> Settings:
    """Returns the run's settings, with ``chosen`` in place of those that may change."""
    recipe = config.settings.recipe
    epochs = chosen.get("epochs", recipe.epochs)
    if epochs != recipe.epochs and recipe.schedule != "constant":
        made = f"its {recipe.schedule} schedule is made for {recipe.epochs} epochs"
        raise ModelsError(f"{path}: {made}; leave out --epochs, or train anew")
    others = {name: value for name, value in chosen.items() if name != "epochs"}
    if "backend" in others:
        others["backend"] = str(parse_backend(others["backend"]))
    continued = replace(config.settings, recipe=replace(recipe, epochs=epochs), **others)
    try:
        check(continued)
    except ModelsError as error:
        raise error if chosen else ModelsError(f"{path / CONFIG}: {error}") from None
    return continued


def _refuse(network: str | None, run_dir: Path | None, chosen: Mapping[str, Any]) -> None:
    """Raises ModelsError for settings that would make it another run."""
    options = [f"--{name.replace('_', '-')}" for name in chosen if name not in MAY_CHANGE]
    words = ([network] if network else []) + options + (["--run-dir"] if run_dir else [])
    if words:
        raise ModelsError(f"--resume goes on with the run's own settings; leave out {', '.join(words)}")


def _load(source: Source, console: Console, group: Group) -> Dataset:
    """Returns the data set; the first process loads it before the others, which then find what it downloaded."""
    folder = Path(source.data_dir) if source.data_dir else None
    if not group.leads:
        group.wait()
    data = fastconv.models.data.load(source.dataset, folder, console, source.size, source.channels)
    if group.leads:
        group.wait()
    return data


def _absolute(folder: Path | None) -> str | None:
    return str(folder.resolve()) if folder else None
