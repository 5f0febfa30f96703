"""The IDX reader: what it reads, and the one line it says of every kind of bad file."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastconv.models.data.idx import read_idx
from fastconv.models.errors import ModelsError

IMAGES = np.arange(3 * 4 * 5).reshape(3, 4, 5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.mark.parametrize("name", ["images", "images.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_content_not_name_tells_the_packing(
    tmp_path: Path, to_idx: Callable[..., bytes], name: str, pack: object
) -> None:
    path = tmp_path / name
    path.write_bytes(pack(to_idx(IMAGES)))  # type: ignore[operator]
    array = read_idx(path, 3)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, IMAGES)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_checksum_is_of_the_uncompressed_file(path: Path, to_idx: Callable[..., bytes], pack: object) -> None:
    content = to_idx(IMAGES)
    path.write_bytes(pack(content))  # type: ignore[operator]
    read_idx(path, 3, hashlib.sha256(content).hexdigest())
    changed = bytearray(content)
    changed[-1] ^= 1
    with pytest.raises(ModelsError, match="not the original file"):
        read_idx(path, 3, hashlib.sha256(changed).hexdigest())


def spoiled(content: bytes) -> dict[str, tuple[bytes, str]]:
    """Ways to spoil a good file, each with what is said of it."""
    packed = gzip.compress(content)
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0xFF
    wrong_sum = bytearray(packed)
    wrong_sum[-8] ^= 0xFF
    return {
        "empty": (b"", "not an IDX file"),
        "two bytes": (content[:2], "not an IDX file"),
        "HTML": (b"<!DOCTYPE html><html>sign in</html>", "not an IDX file"),
        "pickle": (b"\x80\x04\x95" + content, "not an IDX file"),
        "half a header": (content[:9], "cut short within its header"),
        "one byte short": (content[:-1], "cut short, 59 bytes where its header says 3 x 4 x 5"),
        "one byte long": (content + b"\0", "bytes follow the 3 x 4 x 5"),
        "gzipped, one byte short": (gzip.compress(content[:-1]), "cut short, 59 bytes"),
        "gzipped, one byte long": (gzip.compress(content + b"\0"), "bytes follow"),
        "gzip cut": (packed[:-12], "gzip archive is damaged"),
        "gzip without its sum": (packed[:-8], "gzip archive is damaged"),
        "gzip header only": (packed[:4], "gzip archive is damaged"),
        "gzip with a flipped byte": (bytes(flipped), "gzip archive is damaged"),
        "gzip of another sum": (bytes(wrong_sum), "gzip archive is damaged"),
    }


@pytest.mark.parametrize("how", spoiled(b""))
def test_bad_content_is_named(path: Path, to_idx: Callable[..., bytes], how: str) -> None:
    content, says = spoiled(to_idx(IMAGES))[how]
    path.write_bytes(content)
    with pytest.raises(ModelsError, match=says) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("type_code", [9, 11, 12, 13, 14])
def test_other_type_codes_are_refused(path: Path, to_idx: Callable[..., bytes], type_code: int) -> None:
    path.write_bytes(to_idx(IMAGES, type_code=type_code))
    with pytest.raises(ModelsError, match=f"IDX type code {type_code}, not 8"):
        read_idx(path, 3)


def test_wrong_magic_is_refused(path: Path, to_idx: Callable[..., bytes]) -> None:
    path.write_bytes(to_idx(IMAGES, zeros=b"\0\1"))
    with pytest.raises(ModelsError, match="not an IDX file"):
        read_idx(path, 3)


def test_labels_for_images_are_refused(path: Path, to_idx: Callable[..., bytes]) -> None:
    path.write_bytes(to_idx(np.arange(10)))
    with pytest.raises(ModelsError, match="has 1 dimensions where 3 are expected"):
        read_idx(path, 3)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_a_header_cannot_claim_memory(path: Path, to_idx: Callable[..., bytes], pack: object) -> None:
    """2^96 bytes claimed: refused for the 60 that are there."""
    path.write_bytes(pack(to_idx(IMAGES, shape=(2**32 - 1,) * 3)))  # type: ignore[operator]
    with pytest.raises(ModelsError, match="cut short, 60 bytes"):
        read_idx(path, 3)


def test_missing_file_and_folder(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelsError, match=r"can't be read .No such file"):
        read_idx(path, 3)
    with pytest.raises(ModelsError, match="can't be read"):
        read_idx(tmp_path, 3)
