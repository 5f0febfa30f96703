"""These tests see that code is kept as it was written, and that no disk makes an error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fastconv.backends.compiler import store

CODE = b"machine code of some length, which may be anything"


def test_kept_code_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert store.read((tmp_path,), "kernel.o") is None
    store.keep(tmp_path, "kernel.o", CODE)
    assert store.read((tmp_path / "missing", tmp_path), "kernel.o") == CODE
    assert [each.name for each in tmp_path.iterdir()] == ["kernel.o"]


@pytest.mark.skipif(os.name != "posix", reason="files have no such permissions here")
def test_other_users_may_read_what_this_one_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store.keep(tmp_path, "kernel.o", CODE)
    finally:
        os.umask(before)
    assert (tmp_path / "kernel.o").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "damage", [lambda c: c[:20], lambda c: c[:-1], lambda c: c[:40] + b"?" + c[41:], lambda c: b""]
)
def test_damaged_code_counts_as_none(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    store.keep(tmp_path, "kernel.o", CODE)
    file = tmp_path / "kernel.o"
    file.write_bytes(damage(file.read_bytes()))
    assert store.read((tmp_path,), "kernel.o") is None


def test_the_first_folder_that_can_be_written_is_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    places = tmp_path / "file" / "below", tmp_path / "made"
    assert store.writable(places) == tmp_path / "made"
    assert store.writable(places[:1]) is None


def test_a_full_disk_costs_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    store.keep(tmp_path, "kernel.o", CODE)
    assert list(tmp_path.iterdir()) == []
