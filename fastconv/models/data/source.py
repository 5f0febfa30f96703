"""The source of a data set, by which it can be loaded again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A key of :data:`fastconv.models.data.DATASETS`, and, where they were named, the folder, size and channels."""

    dataset: str
    data_dir: str | None = None
    size: int | None = None
    channels: int | None = None
