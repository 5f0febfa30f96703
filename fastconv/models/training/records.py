"""Makes dataclasses of JSON, and checks that each field has the type of its annotation, since anyone may have written
the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from reprlib import repr as short
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from fastconv.models.errors import ModelsError

T = TypeVar("T")

KINDS: Mapping[Any, str] = {int: "a whole number", float: "a number", str: "a text"}
LARGEST = 2**1023
"""Integers below it have a float."""


def read_object(content: bytes, path: Path) -> dict[str, Any]:
    """The JSON object in the file ``path`` of this ``content``.

    Raises ModelsError, which says at which place the file isn't one.
    """
    if not content.strip():
        raise ModelsError(f"{path}: is empty; put back the file that was written with the run")
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelsError(f"{path}: isn't JSON ({error}); put back the file that was written with the run") from None
    if not isinstance(values, dict):
        raise ModelsError(
            f"{path}: isn't a JSON object but {short(values)}; put back the file that was written with the run"
        )
    return values


def record(kind: type[T], values: object, within: str = "", others: bool = False) -> T:
    """The dataclass ``kind`` from ``values`` by name; its fields are plain, dataclasses, or lists of these.

    ``within`` begins the names in messages. With ``others`` there may be more values than fields.

    Raises ValueError, which says which value is wrong and what is allowed, where ``values`` isn't a mapping of just
    these fields to their types.
    """
    hints = get_type_hints(kind)
    if not isinstance(values, Mapping):
        raise ValueError(f"{within.rstrip('.') or kind.__name__.lower()} is {short(values)}; it must be an object")
    missing, unknown = hints.keys() - values.keys(), values.keys() - hints.keys()
    if missing:
        raise ValueError(f"{within}{min(missing)} is missing")
    if unknown and not others:
        raise ValueError(f"{within}{short(min(unknown))} is unknown; known are {', '.join(hints)}")
    return kind(**{name: _value(values[name], hint, within + name, others) for name, hint in hints.items()})


def _value(value: object, hint: Any, name: str, others: bool) -> object:
    """``value`` as the annotation ``hint`` says; raises ValueError where it can't be."""
    optional = isinstance(hint, UnionType)
    if optional:
        if value is None:
            return None
        (hint,) = set(get_args(hint)) - {NoneType}
    if is_dataclass(hint) and isinstance(hint, type):
        return record(hint, value, f"{name}.", others)
    if get_origin(hint) is list:
        if not isinstance(value, list):
            raise ValueError(f"{name} is {short(value)}; it must be a list")
        (inner,) = get_args(hint)
        return [_value(each, inner, f"{name}[{number}]", others) for number, each in enumerate(value)]
    if hint is float and type(value) is int and abs(value) < LARGEST:
        return float(value)
    if type(value) is not hint:
        allowed = KINDS[hint] + (" or null" if optional else "")
        raise ValueError(f"{name} is {short(value)}; it must be {allowed}")
    return value
