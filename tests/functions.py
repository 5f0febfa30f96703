"""The functions of the API with telling arguments: one list for values, gradients, refusals of nothing, all layouts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Call:
    """A call of a function that fastconv and torch.nn.functional share: shapes of the arrays, then the rest."""

    function: str
    shapes: tuple[tuple[int, ...], ...]
    args: tuple[Any, ...] = ()
    how: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The call's id in pytest's output."""
        rest = [*map(str, self.args), *[f"{key}={value}" for key, value in self.how.items()]]
        return "-".join([self.function, "x".join(map(str, self.shapes[0])), *rest]).replace(" ", "")


CALLS = [
    Call("conv1d", ((2, 3, 11), (4, 3, 3), (4,)), (2, 1, 2)),
    Call("conv1d", ((3, 11), (4, 3, 4)), (), {"padding": "same"}),
    Call("conv1d", ((2, 4, 9), (6, 2, 3)), (), {"groups": 2, "padding": (2,)}),
    Call("conv2d", ((2, 4, 7, 6), (6, 2, 3, 2), (6,)), ((2, 1), (1, 2), (1, 2), 2)),
    Call("conv2d", ((4, 7, 6), (6, 4, 3, 3), (6,)), (), {"padding": "valid"}),
    Call("conv_transpose1d", ((2, 3, 7), (3, 4, 3), (4,)), (2, 1, 1)),
    Call("conv_transpose1d", ((3, 7), (3, 2, 3)), (), {"dilation": 2, "padding": 2}),
    Call("conv_transpose2d", ((2, 4, 5, 4), (4, 3, 3, 2), (6,)), ((2, 3), (1, 0), (1, 2), 2)),
    Call("conv_transpose2d", ((4, 5, 4), (4, 3, 3, 3), (3,)), (), {"dilation": (1, 2), "padding": 2}),
    Call("conv_transpose2d", ((2, 2, 3, 3), (2, 2, 2, 2), (2,)), (), {"dilation": 3, "output_padding": 2}),
    Call("conv_transpose2d", ((2, 2, 3, 4), (2, 1, 2, 2)), (), {"stride": 3}),
    Call("conv_transpose2d", ((0, 2, 3, 4), (2, 1, 2, 2)), (), {"stride": 2}),
    Call("max_pool1d", ((2, 3, 11),), (3, 2, 1)),
    Call("max_pool1d", ((3, 11),), (2,), {"ceil_mode": True, "dilation": 2}),
    Call("max_pool2d", ((2, 3, 7, 8),), (3, 2, 1)),
    Call("max_pool2d", ((3, 7, 8),), (2,), {"ceil_mode": True}),
    Call("max_pool2d", ((2, 3, 7, 8),), (2, ()), {"dilation": 2}),
    Call("avg_pool1d", ((2, 3, 11),), (3, 2, 1, True, False)),
    Call("avg_pool1d", ((3, 11),), (4,)),
    Call("avg_pool2d", ((2, 3, 7, 8),), (3, 2, 1, True, False)),
    Call("avg_pool2d", ((3, 7, 8),), ((2, 3),), {"divisor_override": 5}),
    Call("adaptive_avg_pool1d", ((2, 3, 11),), (4,)),
    Call("adaptive_avg_pool1d", ((3, 12),), (4,)),
    Call("adaptive_avg_pool2d", ((2, 3, 12, 8),), ((4, 2),)),
    Call("adaptive_avg_pool2d", ((2, 3, 7, 10),), ((3, 4),)),
    Call("adaptive_avg_pool2d", ((3, 7, 10),), ((None, 13),)),
    Call("adaptive_avg_pool2d", ((2, 3, 14, 9),), ((4, 6),)),
    Call("adaptive_avg_pool2d", ((2, 3, 7, 10),), (1,)),
    Call("adaptive_avg_pool2d", ((2, 3, 7, 10),), ((0, 12),)),
    Call("adaptive_max_pool1d", ((2, 3, 11),), (4,)),
    Call("adaptive_max_pool2d", ((2, 3, 12, 8),), ((4, 2),)),
    Call("adaptive_max_pool2d", ((3, 7, 10),), ((3, 4),)),
    Call("adaptive_max_pool2d", ((2, 3, 7, 10),), ((9, None),)),
    Call("adaptive_max_pool2d", ((2, 3, 14, 9),), ((4, 6),)),
    Call("adaptive_max_pool2d", ((2, 3, 7, 10),), ((3, 0),)),
    Call("lp_pool1d", ((2, 3, 11),), (2, 3, 2)),
    Call("lp_pool1d", ((3, 11),), (2, 3), {"ceil_mode": True}),
    Call("lp_pool2d", ((2, 3, 7, 8),), (2, 3, 2)),
    Call("lp_pool2d", ((3, 7, 8),), (4.0, (2, 3)), {"ceil_mode": True}),
    Call("unfold", ((2, 3, 7, 8),), ((3, 2), (1, 2), (1, 0), (2, 1))),
    Call("unfold", ((3, 7, 8),), (2,)),
    Call("fold", ((2, 18, 12),), ((7, 6), (3, 2)), {"padding": (0, 1), "stride": (2, 2), "dilation": (1, 1)}),
    Call("fold", ((12, 16),), (8, 2), {"stride": 2}),
]
