"""Where a data set is from, so that it can be had again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A key of :data:`models.data.DATASETS`, and the folder of its files where one was named."""

    dataset: str
    data_dir: str | None = None
