"""Checks that other packages still have the private interfaces that fastconv uses (docs/private-interfaces.md)."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

Interface = tuple[Any, str]
"""A module, class or object, and the name of an attribute that it should have."""


def missing(*interfaces: Interface) -> str:
    """Returns those attributes that don't exist, with what they should be part of; "" if all of them do."""
    absent = [(owner, name) for owner, name in interfaces if not hasattr(owner, name)]
    return ", ".join(f"{getattr(owner, '__name__', type(owner).__name__)}.{name}" for owner, name in absent)


def require(package: str, seen: str, *interfaces: Interface) -> None:
    """Raises ImportError if one of the interfaces is missing.

    Args:
        package: the package that they are part of, as pip knows it.
        seen: a version of it that has them all.
        interfaces: without any of these fastconv can't do its work.
    """
    absent = missing(*interfaces)
    if absent:
        allowed = f"which fastconv needs; {package} {seen} has it"
        raise ImportError(f"{package} {version(package)} has no {absent}, {allowed}", name=package)
