"""Four files as one data set: what belongs together, and what is said when it doesn't."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.torch import load_file

from fastconv.models.data import load
from fastconv.models.data.folder import read_folder
from fastconv.models.data.idx_names import TEST_FILES, TRAIN_FILES
from fastconv.models.data.mnist import SHA256
from fastconv.models.errors import ModelsError
from fastconv.models.training.settings import settings
from fastconv.models.training.train import train


def test_reads_both_splits(idx_folder: Path) -> None:
    train, test = read_folder(idx_folder)
    assert train.images.shape == (40, 28, 28)
    assert test.images.shape == (20, 28, 28)
    assert train.labels.tolist() == [i % 10 for i in range(40)]
    assert (train.images[:20] != test.images).any()


def test_mnist_is_known_by_its_content(idx_folder: Path) -> None:
    with pytest.raises(ModelsError, match=r"train-images-idx3-ubyte: not the original file .*--dataset folder"):
        read_folder(idx_folder, SHA256)


def test_each_file_has_its_checksum() -> None:
    assert set(SHA256) == {*TRAIN_FILES, *TEST_FILES}
    assert len(set(SHA256.values())) == 4
    assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in SHA256.values())


@pytest.mark.parametrize("name", [*TRAIN_FILES, *TEST_FILES])
def test_missing_file_is_named(idx_folder: Path, name: str) -> None:
    for path in idx_folder.glob(f"{name}*"):
        path.unlink()
    with pytest.raises(ModelsError, match=f"has no {name}"):
        read_folder(idx_folder)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelsError, match="no such folder"):
        read_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        (TRAIN_FILES[1], np.zeros(39), "39 labels for the 40 images of train-images-idx3-ubyte"),
        (TRAIN_FILES[1], np.zeros(40), "all training labels are 0; at least two classes"),
        (TRAIN_FILES[1], np.full(40, 7), "all training labels are 7; at least two classes"),
        (TEST_FILES[1], np.arange(20) // 19 * 10, r"label 10 at position 19 of t10k-labels\S* is outside 0..9"),
        (TRAIN_FILES[0], np.zeros((0, 28, 28)), "holds no images"),
        (TEST_FILES[0], np.zeros((20, 28, 0)), "holds no images"),
        (TEST_FILES[0], np.zeros((20, 32, 32)), "training images are 28 x 28, test images 32 x 32"),
    ],
    ids=[
        "fewer labels",
        "one class",
        "one class, not 0",
        "one test label too large",
        "no images",
        "no pixels",
        "two sizes",
    ],
)
def test_what_does_not_belong_together(
    idx_folder: Path, to_idx: Callable[..., bytes], name: str, array: np.ndarray, says: str
) -> None:
    for path in idx_folder.glob(f"{name}*"):
        path.unlink()
    (idx_folder / f"{name}.gz").write_bytes(gzip.compress(to_idx(array)))
    with pytest.raises(ModelsError, match=says):
        read_folder(idx_folder)


@pytest.mark.parametrize(("labels", "classes"), [(np.arange(40) % 2, 2), (np.arange(40) % 26 + 1, 27)], ids=["2", "27"])
def test_any_number_of_classes(
    idx_folder: Path, to_idx: Callable[..., bytes], console: Console, labels: np.ndarray, classes: int
) -> None:
    """The numbers from 0 to the largest label; one that no image has, as EMNIST's 0, counts."""
    for name, some in ((TRAIN_FILES[1], labels), (TEST_FILES[1], labels[:20])):
        (idx_folder / f"{name}.gz").write_bytes(gzip.compress(to_idx(some)))
    dataset = load("folder", idx_folder, console)
    assert dataset.classes == tuple(map(str, range(classes)))
    run = train(settings("simple_convnet", "torch", epochs=1), dataset, console)
    assert load_file(run.path / "weights.safetensors")["dense2.weight"].shape == (classes, 100)
    config = json.loads((run.path / "config.json").read_text(encoding="utf-8"))
    assert config["dataset"]["classes"] == list(dataset.classes)


@pytest.mark.parametrize("below", ["raw", "FashionMNIST/raw", "gzip"])
@pytest.mark.parametrize("dots", [False, True])
def test_torchvisions_folders_and_names_with_a_dot(
    idx_folder: Path, tmp_path: Path, console: Console, below: str, dots: bool
) -> None:
    expected = read_folder(idx_folder)
    place = tmp_path / "root" / below
    place.mkdir(parents=True)
    for path in idx_folder.iterdir():
        path.rename(place / (path.name.replace("-idx", ".idx") if dots else path.name))
    for folder in (tmp_path / "root", place):
        for split, other in zip(read_folder(folder), expected, strict=True):
            assert (split.images == other.images).all()
    assert load("folder", place, console).name == ("FashionMNIST" if "/" in below else "root")


def test_emnist_is_turned_and_its_letters_count_from_a(
    tmp_path: Path, to_idx: Callable[..., bytes], console: Console
) -> None:
    folder = tmp_path / "gzip"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (52, 28, 28))
    for kind, labels in (("letters", np.arange(52) % 26 + 1), ("digits", np.arange(52) % 10)):
        for part in ("train", "test"):
            for name, array in (("images-idx3", images.transpose(0, 2, 1)), ("labels-idx1", labels)):
                (folder / f"emnist-{kind}-{part}-{name}-ubyte.gz").write_bytes(gzip.compress(to_idx(array)))
    with pytest.raises(ModelsError, match=r"several data sets; .*gzip/emnist-digits, .*gzip/emnist-letters"):
        read_folder(folder)
    letters = load("folder", folder / "emnist-letters", console)
    assert letters.name == "emnist-letters"
    assert letters.classes == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert letters.test_labels.tolist() == [number % 26 for number in range(52)]
    assert load("folder", folder / "emnist-digits", console).classes == tuple("0123456789")
    for split in read_folder(folder / "emnist-letters"):
        assert (split.images == images).all()
    with pytest.raises(ModelsError, match="has no emnist-byclass-train-images-idx3-ubyte"):
        read_folder(folder / "emnist-byclass")


@pytest.fixture
def qmnist_folder(idx_folder: Path) -> Path:
    """The files under QMNIST's names, as torchvision keeps them: labels in the first of eight columns of integers."""
    folder = idx_folder / "QMNIST" / "raw"
    folder.mkdir(parents=True)
    for (images, labels), part in ((TRAIN_FILES, "train"), (TEST_FILES, "test")):
        (idx_folder / images).rename(folder / f"qmnist-{part}-images-idx3-ubyte")
        content = gzip.decompress((idx_folder / f"{labels}.gz").read_bytes())
        (idx_folder / f"{labels}.gz").unlink()
        table = np.full((len(content) - 8, 8), 2**31 - 1)
        table[:, 0] = np.frombuffer(content, np.uint8, offset=8)
        (folder / f"qmnist-{part}-labels-idx2-int").write_bytes(table_of(table))
    return folder


def table_of(table: np.ndarray) -> bytes:
    return b"\0\0\x0c\2" + struct.pack(">2I", *table.shape) + table.astype(">i4").tobytes()


def test_qmnist(qmnist_folder: Path, console: Console) -> None:
    for folder in (qmnist_folder, qmnist_folder.parent, qmnist_folder.parent.parent, qmnist_folder / "qmnist"):
        train, test = read_folder(folder)
        assert train.labels.tolist() == [i % 10 for i in range(40)]
        assert test.labels.tolist() == [i % 10 for i in range(20)]
        assert (train.images.shape, test.images.shape) == ((40, 28, 28), (20, 28, 28))
    assert load("folder", qmnist_folder, console).name == "QMNIST"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (table_of(np.full((20, 8), 300)), "its first column holds no labels of 0 to 255"),
        (table_of(np.full((20, 8), -1)), "its first column holds no labels of 0 to 255"),
        (table_of(np.zeros((20, 0))), "its first column holds no labels of 0 to 255"),
        (table_of(np.zeros((19, 8))), "19 labels for the 20 images"),
        (table_of(np.zeros((20, 8)))[:-1], "cut short, 639 bytes where its header says 20 x 8"),
        (b"\0\0\x08\1\0\0\0\x14" + bytes(20), r"IDX type code 8, not 12 \(integer\)"),
    ],
    ids=["large", "negative", "no columns", "fewer", "cut", "bytes"],
)
def test_qmnists_labels_are_checked(qmnist_folder: Path, content: bytes, says: str) -> None:
    (qmnist_folder / "qmnist-test-labels-idx2-int").write_bytes(content)
    with pytest.raises(ModelsError, match=f"qmnist-test-labels-idx2-int: {says}"):
        read_folder(qmnist_folder)


def test_a_file_is_no_folder(idx_folder: Path, console: Console) -> None:
    for name in ("mnist", "folder", "images"):
        with pytest.raises(ModelsError, match=r"ubyte: is a file; --data-dir takes the folder"):
            load(name, idx_folder / TRAIN_FILES[0], console)
