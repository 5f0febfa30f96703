"""Several processes train one network together: each takes a part of the work, and they add up their results.

Each has the whole data set and a copy of the network; torch's DistributedDataParallel keeps the copies equal. A batch
is that of all processes, shared out among them, so that together they do the steps that one process would do alone.
They find each other by the variables that ``torchrun`` sets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Group:
    """This process among ``size``; ``local_rank`` and ``local_size`` count those of this machine.

    Every method but :meth:`share` waits for all processes; with one process there is no wait.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Returns True if this process is the one that prints and writes."""
        return self.rank == 0

    @property
    def threads(self) -> int | None:
        """Returns a fair share of this machine's cores; for one process None, for the libraries' own choice."""
        return None if self.size == 1 else max(1, (os.cpu_count() or 1) // self.local_size)

    def share(self, rows: Tensor) -> Tensor:
        """Returns this process's part of ``rows``: consecutive rows, none if there are fewer rows than processes."""
        return rows if self.size == 1 else rows.tensor_split(self.size)[self.rank]

    def total(self, *values: float) -> list[float]:
        """Returns each of ``values`` summed over all processes."""
        if self.size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(sums)
        return sums.tolist()

    def spread(self, content: bytes) -> bytes:
        """Returns the ``content`` of the first process, in all processes."""
        if self.size == 1:
            return content
        length = torch.tensor([len(content)])
        distributed.broadcast(length, 0)
        here = bytearray(content) if self.leads else bytearray(int(length))
        if here:
            distributed.broadcast(torch.frombuffer(here, dtype=torch.uint8), 0)
        return bytes(here)

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.total(0)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Returns ``model`` wrapped so that backward passes leave the mean gradient of all processes."""
        return model if self.size == 1 else DistributedDataParallel(model)


ALONE = Group()

_groups: list[object] = []
"""Process groups are kept until the process ends. Else the last reference to one is DistributedDataParallel's: gloo's
threads are then joined by a thread that holds the interpreter's lock, which they need to give back their last tensors.
"""


def launched() -> bool:
    """Returns True if ``torchrun`` started this process."""
    return all(name in os.environ for name in TORCHRUN)


@contextmanager
def joined() -> Iterator[Group]:
    """Yields the group of the processes that ``torchrun`` started; without it, a group of this process alone.

    Messages between processors go by gloo, between GPUs by NCCL, of which each process takes the one of its number.
    """
    if not launched():
        yield ALONE
        return
    _, size, local_rank, local_size = (int(os.environ[name]) for name in TORCHRUN[:4])
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    _groups.append(distributed.group.WORLD)
    try:
        yield Group(distributed.get_rank(), size, local_rank, local_size)
    finally:
        distributed.destroy_process_group()
