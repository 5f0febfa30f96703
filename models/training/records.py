"""Makes dataclasses of JSON, and checks that each field has the type of its annotation, since anyone may have written
the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_origin, get_type_hints

T = TypeVar("T")


def record(kind: type[T], values: object) -> T:
    """The dataclass ``kind``, of plain fields, from ``values`` by name; what is in a list is left to the caller.

    Raises ValueError, which says what is wrong, where ``values`` isn't a mapping of just these fields to their types.
    """
    hints = get_type_hints(kind)
    if not isinstance(values, Mapping):
        raise ValueError(f"{kind.__name__.lower()} isn't an object")
    if values.keys() != hints.keys():
        name = min(values.keys() ^ hints.keys())
        raise ValueError(f"{name} is {'missing' if name in hints else 'unknown'}")
    for name, hint in hints.items():
        if not _suits(values[name], hint):
            raise ValueError(f"{name} is {values[name]!r}")
    return kind(**values)


def _suits(value: object, hint: Any) -> bool:
    if isinstance(value, bool) or (hint is float and isinstance(value, int)):
        return not isinstance(value, bool)
    return isinstance(value, list if get_origin(hint) is list else hint)
