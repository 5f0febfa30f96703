"""Classes that are equal to those of torch which they stand in for."""

from __future__ import annotations

from typing import Any


class StandIn(type):
    """The type of fastconv's layer classes, each of which is equal to the class that it stands in for.

    Tools look layers up by class: `thop.profile` counts the operations of those in its table and takes the others for
    free, `torch.ao.quantization.fuse_modules` knows which may be fused. Equal classes have one place in such a table.
    ``is`` and `isinstance` tell the two apart.
    """

    _fastconv_stands_for: type

    def __new__(mcs, name: str, bases: tuple[type, ...], own: dict[str, Any], *, of: type | None = None) -> StandIn:
        return super().__new__(mcs, name, bases, own)

    def __init__(cls, name: str, bases: tuple[type, ...], own: dict[str, Any], *, of: type | None = None) -> None:
        super().__init__(name, bases, own)
        cls._fastconv_stands_for = of or cls

    def __eq__(cls, other: object) -> bool:
        theirs = other._fastconv_stands_for if isinstance(other, StandIn) else other
        return theirs is cls._fastconv_stands_for

    def __hash__(cls) -> int:
        return type.__hash__(cls._fastconv_stands_for)
