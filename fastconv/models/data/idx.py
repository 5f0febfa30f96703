"""The IDX format: arrays of bytes behind a header of big-endian sizes, as MNIST and its kin are published.

    offset 0   2 bytes   zero
           2   1 byte    type code; 8 is unsigned byte, 12 a signed integer of four bytes, big-endian
           3   1 byte    number of dimensions D
           4   4 D bytes the sizes, big-endian
           then          the values, last dimension fastest

Files are untrusted: a header can't make the reader take more memory than the file has content for.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from fastconv.models.errors import ModelsError

UNSIGNED_BYTE, INTEGER = 8, 12
DTYPES: dict[int, np.dtype[Any]] = {UNSIGNED_BYTE: np.dtype(np.uint8), INTEGER: np.dtype(">i4")}
NAMES = {UNSIGNED_BYTE: "unsigned byte", INTEGER: "integer"}
GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 20

Bytes = npt.NDArray[np.uint8]


def read_integers(path: Path, dimensions: int, sha256: str | None = None) -> npt.NDArray[np.int32]:
    """The array of integers in the file ``path``; the rest as in :func:`read_idx`."""
    return _read(path, dimensions, sha256, INTEGER).astype(np.int32)


def read_idx(path: Path, dimensions: int, sha256: str | None = None) -> Bytes:
    """Returns the array of unsigned bytes, of ``dimensions`` axes, in the file ``path``.

    Plain or gzipped is told from the content. ``sha256`` (hexadecimal) is that of the whole *uncompressed*
    file, since mirrors compress differently; None takes any content.

    Raises ModelsError, in one line, for a file that is missing, unreadable, damaged, of another format or
    dimension, cut short, too long, or of another checksum.
    """
    return _read(path, dimensions, sha256, UNSIGNED_BYTE)


def _read(path: Path, dimensions: int, sha256: str | None, type_code: int) -> npt.NDArray[Any]:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            stream: BinaryIO = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
            header, shape = _read_header(path, stream, dimensions, type_code)
            wanted = math.prod(shape) * DTYPES[type_code].itemsize
            # One byte more than wanted: it shows trailing content, and makes gzip check its own sum.
            content = _read_up_to(stream, wanted + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ModelsError(f"{path}: the gzip archive is damaged ({error}); download it again") from None
    except OSError as error:
        raise ModelsError(f"{path}: can't be read ({error.strerror}); check path and permissions") from None
    sizes = " x ".join(map(str, shape))
    if len(content) < wanted:
        raise ModelsError(f"{path}: cut short, {len(content):,} bytes where its header says {sizes}; download it again")
    if len(content) > wanted:
        raise ModelsError(f"{path}: bytes follow the {sizes} that its header says; download it again")
    digest.update(header)
    digest.update(content)
    if sha256 is not None and digest.hexdigest() != sha256:
        raise ModelsError(
            f"{path}: not the original file (its uncompressed SHA-256 is {digest.hexdigest()[:12]}..., "
            f"not {sha256[:12]}...); download it again, or use --dataset folder for another data set"
        )
    return np.frombuffer(content, DTYPES[type_code]).reshape(shape)


def _read_header(path: Path, stream: BinaryIO, dimensions: int, type_code: int) -> tuple[bytes, tuple[int, ...]]:
    magic = _read_up_to(stream, 4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ModelsError(f"{path}: not an IDX file (it begins with {bytes(magic)!r}); is it the right file?")
    code, found = magic[2:]
    if code != type_code:
        raise ModelsError(f"{path}: IDX type code {code}, not {type_code} ({NAMES[type_code]}); is it the right file?")
    if found != dimensions:
        raise ModelsError(
            f"{path}: has {found} dimensions where {dimensions} are expected; are images and labels swapped?"
        )
    sizes = _read_up_to(stream, 4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ModelsError(f"{path}: cut short within its header; download it again")
    return bytes(magic + sizes), struct.unpack(f">{dimensions}I", sizes)


def _read_up_to(stream: BinaryIO, count: int) -> bytearray:
    """Returns at most ``count`` bytes, in chunks: ``read(count)`` would reserve what a false header asks for."""
    content = bytearray()
    while len(content) < count and (chunk := stream.read(min(CHUNK, count - len(content)))):
        content += chunk
    return content
