"""The data sets by name; see :func:`load`."""

from __future__ import annotations

from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING

from fastconv.models.errors import DownloadError, ModelsError

if TYPE_CHECKING:
    from rich.console import Console

    from fastconv.models.data.dataset import Dataset

DATASETS = {
    "mnist": "MNIST and nothing else: from --data-dir, the cache or the public mirrors, checked by SHA-256",
    "folder": "any data set of MNIST's four files in --data-dir (Fashion-MNIST, KMNIST, QMNIST, EMNIST), unchecked",
    "images": "your own pictures in --data-dir: train/CLASS/* and test/CLASS/*, or CLASS/*, then a fifth is tested on",
    "digits": "scikit-learn's 1,797 handwritten digits, enlarged to 28 x 28; needs no network",
    "auto": "mnist, or digits when there are no files and no network",
}


def load(
    name: str, data_dir: Path | None, console: Console, size: int | None = None, channels: int | None = None
) -> Dataset:
    """Returns the data set ``name`` (a key of DATASETS), from ``data_dir`` if given; remarks go to ``console``.

    ``size`` and ``channels`` are those of :class:`fastconv.models.data.form.Form`, None leaving the images' own.

    Raises ModelsError for an unknown name, a form that isn't one, and for data that is missing or damaged. ``auto``
    alone substitutes another data set, says so in one line, and only when nothing can be downloaded: a named folder
    that is bad stays an error.
    """
    check_name(name)
    from fastconv.models.data.dataset import prepare
    from fastconv.models.data.digits import digits
    from fastconv.models.data.folder import read_folder
    from fastconv.models.data.form import Form
    from fastconv.models.data.idx_names import LETTERS, found
    from fastconv.models.data.mnist import mnist
    from fastconv.models.data.preprocessing import OF_DATASETS

    form = Form(size, channels)
    if name == "digits":
        return prepare("digits", *digits(), form=form, subject=OF_DATASETS["digits"])
    if name in ("folder", "images"):
        if data_dir is None:
            raise ModelsError(f"--dataset {name} needs a folder: name it with --data-dir")
        if name == "images":
            from fastconv.models.data.pictures import read_class_folders

            return prepare(data_dir.resolve().name, *read_class_folders(data_dir, form, console), form=form)
        classes = tuple(ascii_uppercase) if found(data_dir).prefix == LETTERS else None
        return prepare(_name(data_dir), *read_folder(data_dir), classes, form)
    try:
        return prepare("mnist", *mnist(data_dir, console), form=form, subject=OF_DATASETS["mnist"])
    except DownloadError as error:
        if name == "mnist":
            raise DownloadError(f"{error}, or use --dataset digits") from None
        console.print(
            f"No MNIST files here and none to be had from the network: using scikit-learn's digits instead ({error})",
            soft_wrap=True,
        )
        return prepare("digits", *digits(), form=form, subject=OF_DATASETS["digits"])


def _name(folder: Path) -> str:
    """Returns the name of a folder's data set; torchvision's FashionMNIST/raw is called by the folder above."""
    place = folder.resolve()
    return place.parent.name if place.name in ("raw", "gzip") else place.name


def check_name(name: str) -> None:
    """Raises ModelsError, which lists the known names, if no data set has this name."""
    if name not in DATASETS:
        raise ModelsError(f"no data set is called {name!r}; the data sets are {', '.join(DATASETS)}")
