"""A process that doesn't write has a bystander in place of the run folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from torch import Tensor

from fastconv.models.training.distributed import Group
from fastconv.models.training.run_folder import RunFolder


class Bystander(RunFolder):
    """Looks like the run folder ``path``, and does nothing; the first process of a group does it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, **record: object) -> None:
        """Do nothing."""

    def log_length(self) -> int:
        """Returns 0: this process writes no log."""
        return 0

    def cut_log(self, length: int) -> None:
        """Do nothing."""

    def save_config(self, config: Mapping[str, object]) -> None:
        """Do nothing."""

    def save_weights(self, weights: dict[str, Tensor]) -> None:
        """Do nothing."""

    def save_checkpoint(self, content: bytes) -> None:
        """Do nothing."""

    def checkpoint(self) -> bytes:
        """Returns no bytes: the first process hands out its own."""
        return b""


@contextmanager
def shared(opened: AbstractContextManager[RunFolder], group: Group) -> Iterator[RunFolder]:
    """Yields the folder that ``opened`` gives in the process that leads ``group``, and a bystander in the others."""
    if group.leads:
        with opened as folder:
            group.spread(os.fsencode(folder.path))
            yield folder
    else:
        yield Bystander(Path(os.fsdecode(group.spread(b""))))
