"""What a process that doesn't write has in place of the run folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from torch import Tensor

from models.training.distributed import Group
from models.training.run_folder import RunFolder


class Bystander(RunFolder):
    """Looks like the run folder ``path``, and does nothing; the first process of a group does it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, **record: object) -> None:
        """Nothing."""

    def log_length(self) -> int:
        """None."""
        return 0

    def cut_log(self, length: int) -> None:
        """Nothing."""

    def save_config(self, config: Mapping[str, object]) -> None:
        """Nothing."""

    def save_weights(self, weights: dict[str, Tensor]) -> None:
        """Nothing."""

    def save_checkpoint(self, content: bytes) -> None:
        """Nothing."""

    def checkpoint(self) -> bytes:
        """None: the first process hands out its own."""
        return b""


@contextmanager
def shared(opened: AbstractContextManager[RunFolder], group: Group) -> Iterator[RunFolder]:
    """The folder that ``opened`` gives in the process that leads ``group``; in the others what stands for it."""
    if group.leads:
        with opened as folder:
            group.spread(os.fsencode(folder.path))
            yield folder
    else:
        yield Bystander(Path(os.fsdecode(group.spread(b""))))
