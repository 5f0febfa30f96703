"""MNIST, byte for byte: from a folder at hand, else from the user's cache, else from the public mirrors.

Y. LeCun, C. Cortes, C. J. C. Burges: 60,000 training and 10,000 test images, 28 x 28, 8 bit; CC BY-SA 3.0.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import platformdirs
from rich.console import Console

from fastconv.models.data.download import download
from fastconv.models.data.folder import IMAGES, LABELS, read_folder
from fastconv.models.data.idx import read_idx
from fastconv.models.data.idx_names import TEST_FILES, TRAIN_FILES
from fastconv.models.data.split import Split
from fastconv.models.errors import DownloadError, ModelsError

SHA256 = dict(
    zip(
        TRAIN_FILES + TEST_FILES,
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        strict=True,
    )
)
"""SHA-256 of the uncompressed files."""

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def mnist(data_dir: Path | None, console: Console) -> tuple[Split, Split]:
    """Returns the training and the test split, checked by SHA-256.

    With ``data_dir`` they come from there alone, and a missing or foreign file is a ModelsError. Without it, they come
    from the cache folder; what it lacks is downloaded into it, or a DownloadError raised.
    """
    if data_dir is not None:
        return read_folder(data_dir, SHA256)
    folder = cache_folder()
    try:
        return read_folder(folder, SHA256)
    except ModelsError:  # nothing there yet, or something damaged
        _complete(folder, console)
        return read_folder(folder, SHA256)


def cache_folder() -> Path:
    """Returns the folder of downloaded files; ``XDG_CACHE_HOME`` moves it on Linux."""
    return Path(platformdirs.user_cache_dir("fastconv")) / "mnist"


def _complete(folder: Path, console: Console) -> None:
    """Download each file that ``folder`` doesn't hold intact."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"can't be made ({error.strerror})"
        raise DownloadError(f"{folder}: {reason}; name a folder of files with --data-dir") from None
    for name, sha256 in SHA256.items():
        check = partial(read_idx, dimensions=LABELS if "labels" in name else IMAGES, sha256=sha256)
        target = folder / f"{name}.gz"
        try:
            check(target)
        except ModelsError:
            download(target, MIRRORS, check, console)
