"""Any data set of MNIST's four files, in a folder: MNIST itself, Fashion-MNIST, KMNIST, QMNIST, EMNIST."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fastconv.models.data.idx import Bytes, read_idx, read_integers
from fastconv.models.data.idx_names import EMNIST, INTEGERS, LETTERS, TEST_FILES, TRAIN_FILES, Place, found
from fastconv.models.data.split import Split
from fastconv.models.errors import ModelsError

IMAGES, LABELS = 3, 1  # dimensions
NO_CHECKSUMS: Mapping[str, str] = {}


def read_folder(folder: Path, sha256: Mapping[str, str] = NO_CHECKSUMS) -> tuple[Split, Split]:
    """Returns the training and the test split in ``folder``; ``sha256`` gives the files' checksums by name.

    Files have the names and folders of :mod:`.idx_names`, plain or with ``.gz``. EMNIST's images, which its files hold
    transposed, are turned, and its letters are counted from 0.

    Raises ModelsError for a missing or a bad file, for images and labels that don't belong together, for splits that
    differ in image size, for training labels of one class alone, and for test labels beyond those of training.
    """
    place = found(folder)
    train, test = (_read_split(place, files, sha256) for files in (TRAIN_FILES, TEST_FILES))
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = [" x ".join(map(str, split.images.shape[1:])) for split in (train, test)]
        raise ModelsError(
            f"{folder}: training images are {sizes[0]}, test images {sizes[1]}; they are of two data sets"
        )
    _check_classes(folder, train, test)
    return train, test


def check_split(images: Bytes, labels: Bytes, images_from: Path, labels_from: Path) -> Split:
    """Returns images and labels as a split; there must be a label for each image, and one image at least.

    Raises ModelsError, which names the files they are from.
    """
    if images.size == 0:
        raise ModelsError(f"{images_from}: holds no images; is it the right file?")
    if len(images) != len(labels):
        raise ModelsError(
            f"{labels_from}: {len(labels):,} labels for the {len(images):,} images of {images_from.name}; "
            "the two are of different data sets"
        )
    return Split(images, labels)


def _check_classes(folder: Path, train: Split, test: Split) -> None:
    first, last = int(train.labels.min()), int(train.labels.max())
    if first == last:
        raise ModelsError(f"{folder}: all training labels are {last}; at least two classes are needed")
    if test.labels.max() > last:
        at = int((test.labels > last).argmax())
        raise ModelsError(
            f"{folder}: label {test.labels[at]} at position {at} of {TEST_FILES[1]} is outside 0..{last}, "
            "the labels of training; the splits are of two data sets"
        )


def _read_labels(path: Path, sha256: str | None) -> Bytes:
    """The labels in a file of bytes, or the first column of a table of integers, as QMNIST keeps them."""
    if INTEGERS not in path.name:
        return read_idx(path, LABELS, sha256)
    table = read_integers(path, 2, sha256)
    if table.shape[1] == 0 or not ((table[:, 0] >= 0) & (table[:, 0] <= 255)).all():
        raise ModelsError(f"{path}: its first column holds no labels of 0 to 255; is it the right file?")
    return table[:, 0].astype(np.uint8)


def _read_split(place: Place, files: tuple[str, str], sha256: Mapping[str, str]) -> Split:
    paths = [place.find(name) for name in files]
    for name, path in zip(files, paths, strict=True):
        if path is None:
            wanted = f"{place.prefix}{name}"
            raise ModelsError(f"{place.folder}: has no {wanted} (plain or .gz); put the data set's four files there")
    images_from, labels_from = (path for path in paths if path is not None)
    images = read_idx(images_from, IMAGES, sha256.get(files[0]))
    labels = _read_labels(labels_from, sha256.get(files[1]))
    split = check_split(images, labels, images_from, labels_from)
    if place.prefix.startswith(EMNIST):
        split = split._replace(images=np.ascontiguousarray(split.images.transpose(0, 2, 1)))
    if place.prefix == LETTERS:
        if split.labels.min() < 1:
            raise ModelsError(f"{labels_from}: has a label 0; EMNIST's letters have 1 to 26")
        split = split._replace(labels=split.labels - np.uint8(1))
    return split
