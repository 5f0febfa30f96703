"""The places and names of the four files of a data set like MNIST.

    train-images-idx3-ubyte[.gz] ...          in the folder itself
    raw/train-images-idx3-ubyte ...           as torchvision keeps them, below FashionMNIST/, KMNIST/, MNIST/
    emnist-letters-train-images-idx3-ubyte    EMNIST, also in gzip/; its test files are "test", not "t10k"
    qmnist-train-labels-idx2-int              QMNIST, whose labels are the first column of a table of integers

A folder with several sets is named with the set's: ``--data-dir my/gzip/emnist-letters``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fastconv.models.errors import ModelsError

TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
EMNIST, LETTERS, QMNIST = "emnist-", "emnist-letters-", "qmnist-"
INTEGERS = "idx2-int"
BELOW = ("raw", "gzip")
_ANY = re.compile(
    r"(emnist-[a-z]+-|qmnist-)?(train|t10k|test)-(images[-.]idx3-ubyte|labels[-.]idx(1-ubyte|2-int))(\.gz)?"
)


@dataclass(frozen=True)
class Place:
    """A folder, and the text that the names of a data set's files begin with there."""

    folder: Path
    prefix: str = ""

    def find(self, name: str) -> Path | None:
        """Returns the file that MNIST calls ``name``, plain or with ``.gz``, or None."""
        names = [f"{self.prefix}{name}"]
        names += [each.replace("t10k", "test") for each in names]
        names += [each.replace("idx1-ubyte", INTEGERS) for each in names if self.prefix == QMNIST]
        names += [each.replace("-idx", ".idx") for each in names]
        paths = (self.folder / f"{each}{ending}" for each in names for ending in ("", ".gz"))
        return next((path for path in paths if path.is_file()), None)


def found(folder: Path) -> Place:
    """Returns the place of the only data set in ``folder``; raises ModelsError if there is none, or several."""
    prefix = ""
    if not folder.is_dir() and folder.name.startswith((EMNIST, QMNIST[:-1])) and folder.parent.is_dir():
        folder, prefix = folder.parent, f"{folder.name}-"
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise ModelsError(f"{folder}: {what}; --data-dir takes the folder that holds {TRAIN_FILES[0]} etc.")
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
        levels = [[folder], [folder / name for name in BELOW], [path / name for path in inside for name in BELOW]]
        for level in levels:
            places = [place for path in level for place in _places(path) if prefix in ("", place.prefix)]
            if len(places) > 1:
                names = ", ".join(str(each.folder / each.prefix.rstrip("-")) for each in places)
                raise ModelsError(f"{folder}: holds several data sets; name one of them by --data-dir: {names}")
            if places:
                return places[0]
    except OSError as error:
        raise ModelsError(f"{folder}: can't be read ({error.strerror}); check path and permissions") from None
    return Place(folder, prefix)


def _places(folder: Path) -> list[Place]:
    if not folder.is_dir():
        return []
    prefixes = {match[1] or "" for path in folder.iterdir() if (match := _ANY.fullmatch(path.name))}
    return [Place(folder, prefix) for prefix in sorted(prefixes)]
