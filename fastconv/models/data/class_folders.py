"""Finds the pictures in folders, one for each class, and decides which are there to test on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastconv.models.errors import ModelsError

TRAIN, TEST = "train", "test"
TEST_SHARE = 0.2
SPLIT_SEED = 0
LEAST_CLASSES = 2
NO_PICTURES = frozenset({"Thumbs.db", "desktop.ini"})
"""Files that file managers leave behind; files whose name begins with a dot are left out too."""


class Labelled(NamedTuple):
    """Files and, for each, the number of its class."""

    files: list[Path]
    labels: list[int]


def find_pictures(folder: Path) -> tuple[Labelled, Labelled, tuple[str, ...]]:
    """Returns the pictures to train on and to test on in ``folder``, and the names of the classes in alphabetical
    order.

    The pictures are ``train/CLASS/*`` and ``test/CLASS/*``, or, without these two, ``CLASS/*``, of which a fifth of
    each class, drawn by a fixed seed, is there to test on. Links are followed. Raises ModelsError for a folder that
    can't be read or has fewer than two classes, a class without pictures, and a class that is tested only.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise ModelsError(f"{folder}: {what}; --data-dir takes the folder that holds the classes' folders")
    there = [name for name in (TRAIN, TEST) if (folder / name).is_dir()]
    if len(there) == 1:
        missing = TEST if there == [TRAIN] else TRAIN
        raise ModelsError(f"{folder}: has {there[0]} but no {missing}; give both, or the classes' folders alone")
    try:
        return _two(folder) if there else _one(folder)
    except OSError as error:
        raise ModelsError(f"{error.filename}: can't be read ({error.strerror}); check its permissions") from None


def _two(folder: Path) -> tuple[Labelled, Labelled, tuple[str, ...]]:
    to_train, to_test = _by_class(folder / TRAIN, LEAST_CLASSES), _by_class(folder / TEST, 1)
    classes = tuple(to_train)
    for name in to_test:
        if name not in to_train:
            raise ModelsError(f"{folder / TEST / name}: no class of that name is trained on; add {TRAIN}/{name}")
    train, test = (_labelled(some, classes) for some in (to_train, to_test))
    return train, test, classes


def _one(folder: Path) -> tuple[Labelled, Labelled, tuple[str, ...]]:
    to_train, to_test = {}, {}
    for name, files in _by_class(folder, LEAST_CLASSES).items():
        if len(files) < 2:
            raise ModelsError(f"{folder / name}: has one picture; one to train on and one to test on are needed")
        order = np.random.default_rng(SPLIT_SEED).permutation(len(files))
        count = max(1, round(TEST_SHARE * len(files)))
        to_test[name] = [files[number] for number in sorted(order[:count])]
        to_train[name] = [files[number] for number in sorted(order[count:])]
    classes = tuple(to_train)
    return _labelled(to_train, classes), _labelled(to_test, classes), classes


def _by_class(folder: Path, least: int) -> dict[str, list[Path]]:
    """Returns the files of each class, in alphabetical order; ``least`` classes must be there."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(names) < least:
        found = f"the folder of one class alone, {names[0]}" if names else "no folder of a class"
        raise ModelsError(f"{folder}: has {found}; pictures stand in folders of their classes: cats/1.png, dogs/1.png")
    return {name: _pictures(folder / name) for name in names}


def _pictures(folder: Path) -> list[Path]:
    """Returns all files in ``folder``; a file that is no picture is noticed when it is opened."""
    files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in NO_PICTURES)
    if not files:
        raise ModelsError(f"{folder}: has no pictures; put some there, or remove the folder")
    for path in files:
        if path.is_dir():
            raise ModelsError(f"{path}: is a folder inside that of a class; pictures stand directly in their class's")
    return files


def _labelled(files: dict[str, list[Path]], classes: tuple[str, ...]) -> Labelled:
    labels = [classes.index(name) for name, some in files.items() for _ in some]
    return Labelled([path for some in files.values() for path in some], labels)
