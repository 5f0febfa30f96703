"""The folder of one run: its configuration, its log, its weights and a checkpoint, never half a file.

    config.json             the settings, the data and the versions
    log.jsonl               one JSON object a line: every step, every epoch, the end
    weights.safetensors     the network after its last whole epoch, or after its best on a validation split
    checkpoint.safetensors  all that is needed to go on

A run that an error ends before its first checkpoint leaves no folder. One process at a time has a run's folder, by a
lock on its log.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import monotonic
from typing import BinaryIO

import safetensors.torch
from torch import Tensor

from fastconv.models.errors import ModelsError
from fastconv.models.training.lock import lock

CONFIG, LOG, WEIGHTS, CHECKPOINT = "config.json", "log.jsonl", "weights.safetensors", "checkpoint.safetensors"
ASIDE = ".{}.part"
TAKEN = "not an empty folder; name another with --run-dir, or go on with a run by --resume"
LOG_SECONDS = 1.0
"""Most seconds before a line of the log reaches the file, for those who read along."""


class RunFolder:
    """The open folder ``path``; made and ended by :func:`new_run`, or :func:`old_run`."""

    def __init__(self, path: Path, log: BinaryIO) -> None:
        self.path = path
        self._log = log
        self._shown = monotonic()

    def log(self, **record: object) -> None:
        """Append ``record`` to the log as one line of JSON."""
        self._log.write(json.dumps(record).encode() + b"\n")
        if monotonic() - self._shown > LOG_SECONDS:
            self._log.flush()
            self._shown = monotonic()

    def log_length(self) -> int:
        """Returns the log's length in bytes, after all of them are on disk."""
        self._log.flush()
        os.fsync(self._log.fileno())
        return self._log.tell()

    def cut_log(self, length: int) -> None:
        """Forget what was logged after the first ``length`` bytes. Raises ModelsError where there are fewer."""
        there = self._log.seek(0, os.SEEK_END)
        if there < length:
            lacks = f"{length - there:,} bytes are gone that were there when the checkpoint was written"
            raise ModelsError(f"{self.path / LOG}: {lacks}; put the whole file back")
        self._log.truncate(length)
        self._log.seek(length)

    def save_config(self, config: Mapping[str, object]) -> None:
        """Write the configuration."""
        write_aside(self.path / CONFIG, (json.dumps(config, indent=2) + "\n").encode())

    def save_weights(self, weights: dict[str, Tensor]) -> None:
        """Write the weights, in place of earlier ones."""
        contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
        write_aside(self.path / WEIGHTS, safetensors.torch.save(contiguous))

    def save_checkpoint(self, content: bytes) -> None:
        """Write the checkpoint, in place of an earlier one."""
        write_aside(self.path / CHECKPOINT, content)

    def checkpoint(self) -> bytes:
        """Returns the checkpoint, or no bytes before there is one. Raises ModelsError if it is gone or empty."""
        path = self.path / CHECKPOINT
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            if self.has_weights:  # they are written after the first checkpoint
                raise ModelsError(f"{path}: is gone, and {WEIGHTS} is there; put it back, or train anew") from None
            return b""
        if not content:
            raise ModelsError(f"{path}: is empty; put back a whole one, or remove it to begin again")
        return content

    @property
    def has_weights(self) -> bool:
        """Returns True if an epoch's weights are there."""
        return (self.path / WEIGHTS).exists()


@contextmanager
def new_run(path: Path | None, name: str, config: Mapping[str, object]) -> Iterator[RunFolder]:
    """A new run folder: ``path``, which must be empty or new, or else ``runs/<name>``, numbered if taken.

    Left by an exception before there is a checkpoint, it is taken away again. Raises ModelsError when it can't
    be made.
    """
    place = path or Path("runs")
    with _path_errors(place, "choose with --run-dir"):
        folder, made = _claim(path) if path is not None else (_numbered(Path("runs"), name), True)
        log = _first_log(folder)
    try:
        with log:
            write_aside(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
            yield RunFolder(folder, log)
    except BaseException:
        if not (folder / CHECKPOINT).exists():
            for file in (CONFIG, LOG):
                (folder / file).unlink(missing_ok=True)
            if made:
                folder.rmdir()
        raise


@contextmanager
def old_run(path: Path) -> Iterator[RunFolder]:
    """The run in the folder ``path``, cleared of what a killed process was writing.

    Raises ModelsError when another process has it, or it can't be written to.
    """
    with _path_errors(path, "check path and permissions"):
        log = _open_log(path)
    with log:
        _remove_halves(path)
        yield RunFolder(path, log)


def read_config(path: Path) -> bytes:
    """Returns the configuration of the run in the folder ``path``. Raises ModelsError where there is none."""
    try:
        return (path / CONFIG).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ModelsError(f"{path}: holds no run, for it has no {CONFIG}; name the folder of one") from None
    except OSError as error:
        raise ModelsError(f"{path / CONFIG}: can't be read ({error.strerror}); check path and permissions") from None


def write_aside(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` so that a reader at any time sees all of the old or all of the new."""
    aside = path.with_name(ASIDE.format(path.name))
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _open_log(folder: Path) -> BinaryIO:
    """Returns the log of ``folder``, locked and at its end."""
    file = (folder / LOG).open("ab")
    try:
        lock(file)
    except OSError:
        file.close()
        raise
    return file


def _first_log(folder: Path) -> BinaryIO:
    """Returns a new log, locked: of several processes that find ``folder`` empty, only one can make it."""
    try:
        file = (folder / LOG).open("xb")
    except FileExistsError:
        raise ModelsError(f"{folder}: {TAKEN}") from None
    lock(file)
    return file


@contextmanager
def _path_errors(place: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise ModelsError(f"{place}: another process is writing this run; wait until it ends") from None
    except OSError as error:
        raise ModelsError(f"{place}: can't hold a run ({error.strerror}); {advice}") from None


def _remove_halves(folder: Path) -> None:
    for name in (CONFIG, WEIGHTS, CHECKPOINT):
        (folder / ASIDE.format(name)).unlink(missing_ok=True)


def _claim(path: Path) -> tuple[Path, bool]:
    """Returns ``path``, now an empty folder, and whether it had to be made."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        if path.is_dir():
            (path / ASIDE.format(CONFIG)).unlink(missing_ok=True)  # of a run killed before it began
        if not path.is_dir() or any(path.iterdir()):
            raise ModelsError(f"{path}: {TAKEN}") from None
        return path, False
    return path, True


def _numbered(parent: Path, name: str) -> Path:
    """Returns the first folder of name, name-2, name-3, ... that could be made: two runs never share one."""
    for number in count(1):
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise AssertionError("unreachable")
