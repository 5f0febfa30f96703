"""The folder of one run: its configuration, its log and its weights, never half a file.

    config.json          the settings, the data and the versions
    log.jsonl            one JSON object a line: every step, every epoch, the end
    weights.safetensors  the network after its last whole epoch

A run that ends before its first epoch is over, by an error or by Ctrl-C, leaves no folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TextIO

import safetensors.torch
from torch import Tensor

from models.errors import ModelsError

CONFIG, LOG, WEIGHTS = "config.json", "log.jsonl", "weights.safetensors"


class RunFolder:
    """The open folder ``path``; made and ended by :func:`run_folder`."""

    def __init__(self, path: Path, log: TextIO) -> None:
        self.path = path
        self._log = log

    def log(self, **record: object) -> None:
        """Append ``record`` to the log as one line of JSON, there at once for who reads along."""
        self._log.write(json.dumps(record) + "\n")
        self._log.flush()

    def save_config(self, config: Mapping[str, object]) -> None:
        """Write the configuration."""
        write_aside(self.path / CONFIG, (json.dumps(config, indent=2) + "\n").encode())

    def save_weights(self, weights: dict[str, Tensor]) -> None:
        """Write the weights, in place of earlier ones."""
        contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
        write_aside(self.path / WEIGHTS, safetensors.torch.save(contiguous))

    @property
    def has_weights(self) -> bool:
        """Whether an epoch's weights are there."""
        return (self.path / WEIGHTS).exists()


@contextmanager
def run_folder(path: Path | None, name: str) -> Iterator[RunFolder]:
    """A new run folder: ``path``, which must be empty or new, or else ``runs/<name>``, numbered if taken.

    Left by an exception before weights were saved, it is taken away again. Raises ModelsError when it can't
    be made.
    """
    try:
        folder, made = _claim(path) if path is not None else (_numbered(Path("runs"), name), True)
        log = (folder / LOG).open("x", encoding="utf-8")
    except OSError as error:
        place = path or "runs"
        raise ModelsError(f"{place}: can't hold a run ({error.strerror}); choose with --run-dir") from None
    run = RunFolder(folder, log)
    try:
        with log:
            yield run
    except BaseException:
        if not run.has_weights:
            for file in (CONFIG, LOG):
                (folder / file).unlink(missing_ok=True)
            if made:
                folder.rmdir()
        raise


def write_aside(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` so that whoever looks, whenever, sees all of the old or all of the new."""
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _claim(path: Path) -> tuple[Path, bool]:
    """``path`` as an empty folder, and whether it had to be made."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        if not path.is_dir() or any(path.iterdir()):
            raise ModelsError(f"{path}: not an empty folder; name another with --run-dir") from None
        return path, False
    return path, True


def _numbered(parent: Path, name: str) -> Path:
    """The first of name, name-2, name-3, ... that could be made: two runs never share one."""
    for number in count(1):
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise AssertionError("unreachable")
