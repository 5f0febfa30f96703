"""torch's C interface is tried before it is used; where anything of it is another, there is none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from fastconv.torch import interface

FUNCTIONS = sorted(interface._FUNCTIONS)


def _wrong_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "_VERSION", 2)


def _wrong_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "_FLOAT", 1)


def _wrong_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(interface._TYPES, "int64", torch.int32)


def _no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.Tensor, "__dlpack_c_exchange_api__")


def _no_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "_cdata", 0)


def _no_function(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(interface._FUNCTIONS, name, "aoti_torch_no_such_function")


def _another_function(name: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(interface._FUNCTIONS, name, interface._FUNCTIONS[other])


@pytest.mark.parametrize(
    "lose",
    [
        *(_wrong_version, _wrong_kind, _wrong_type, _no_exchange, _no_handle),
        *(pytest.param(partial(_no_function, name), id=f"no {name}") for name in FUNCTIONS),
        pytest.param(partial(_another_function, "storage_bytes", "storage_offset"), id="another size"),
        pytest.param(partial(_another_function, "storage_offset", "storage_bytes"), id="another offset"),
        pytest.param(partial(_another_function, "data", "storage_bytes"), id="another address"),
    ],
)
def test_no_interface_where_torch_is_another(
    lose: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert interface._tried() is not None
    lose(monkeypatch)
    assert interface._tried() is None


def test_interface_is_looked_for_in_inference_mode() -> None:
    with torch.inference_mode():
        assert interface.tensor_interface.__wrapped__() == interface.tensor_interface()
