"""A report lists a model's layers with their times in torch and in fastconv, and the whole model's times."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from fastconv.torch import measuring
from fastconv.torch.convert import convert
from fastconv.torch.kept import conditions
from fastconv.torch.layer_problems import algorithm, operations, peak
from fastconv.torch.measuring import Progress, Work, laid_out, works
from fastconv.torch.modules import Layer
from fastconv.torch.observing import Call, arguments, copied, observe, same_random_numbers
from fastconv.torch.sequential import Sequential
from fastconv.torch.swapping import by_torch, computed
from fastconv.torch.tune import WHOLE_SECONDS, described, is_inside, runs_together


@dataclass(frozen=True)
class Times:
    """Seconds of the best call, by torch and by fastconv."""

    torch: float
    """Seconds in contiguous layout."""
    torch_channels_last: float
    """Seconds in channels_last; the same as ``torch`` where there are no images of four dimensions."""
    fastconv: float
    """Seconds in the model's layout."""

    def over_torch(self, *, channels_last: bool) -> float:
        """Returns torch's time in the model's layout divided by fastconv's."""
        return (self.torch_channels_last if channels_last else self.torch) / self.fastconv


@dataclass(frozen=True)
class Row:
    """A layer, or an nn.Sequential whose layers run together, called with one shape of input."""

    name: str
    kind: str
    input: str
    calls: int
    """The number of such calls in a run of the model; times are of one call."""
    channels_last: bool
    algorithm: str
    forward: Times
    both: Times | None
    """Times forward and backward; None unless the model is in training mode."""
    of_peak: float | None
    """Share of the peak of multiply-adds that fastconv's best call reaches, of `both` if it was measured."""


@dataclass(frozen=True)
class Report:
    """The rows and the model's times; printed, a report is a table, and a loop over it goes through its rows."""

    rows: tuple[Row, ...]
    forward: Times
    """Times of the whole model, forward."""
    both: Times | None
    channels_last: bool
    """True if the model's own layout is channels_last."""
    conditions: dict[str, str]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as numbers, texts, lists and dicts, for JSON; times are in seconds."""
        return asdict(self)

    def sums(self, of: Callable[[Any], Times | None]) -> Times | None:
        """Returns the sums of the layers' times, each counted as often as it is called; ``of`` gives a row's times."""
        found = [(row.calls, times) for row in self.rows if (times := of(row)) is not None]
        if not found:
            return None
        fields = ("torch", "torch_channels_last", "fastconv")
        return Times(*(math.fsum(calls * getattr(times, each) for calls, times in found) for each in fields))

    def __str__(self) -> str:
        parts = [_table(self, "forward", lambda timed: timed.forward, peaks=self.both is None)]
        if self.both is not None:
            parts.append(_table(self, "forward and backward", lambda timed: timed.both, peaks=True))
        about = self.conditions
        parts.append(f"{about['processor']}, {about['threads']}; torch {about['torch']}, fastconv {about['fastconv']}")
        return "\n\n".join(parts)


@same_random_numbers()
def report(model: nn.Module, example: Any, backend: str | None = None) -> Report:
    """Returns a report: the times of a model's layers, and of the model, in torch and in fastconv.

    All is measured on copies, in turns, after the values were compared with torch's: the model stays as it is.

    Args:
        model: any module on the CPU. In training mode, backward passes are measured too. A converted model is measured
            as it is, another one as `convert` would make it.
        example: a tensor, or a tuple or dict of arguments, to run the model with.
        backend: converts the copy to this backend first; None for the model's own, or the choice in force.

    Raises:
        TypeError, RuntimeError: a model that can't be copied or isn't on the CPU, an example that it doesn't take.
        RuntimeError: a layer whose values are not torch's.
    """
    plain, mine = by_torch(copied(model)), copied(model)
    if backend is not None or not any(isinstance(module, (Layer, Sequential)) for module in mine.modules()):
        convert(mine, backend)
    training = plain.training
    modules = dict(mine.named_modules())
    names = [name for name, module in computed(mine) if not isinstance(module, nn.Sequential) or runs_together(module)]
    calls = [
        call
        for call in observe(plain, example, names, gradients=training)
        if not any(is_inside(call.name, name) and call.name != name and runs_together(modules[name]) for name in names)
    ]
    calls.sort(key=lambda call: names.index(call.name))
    progress = Progress("measuring", len(calls) + 1)
    rows: list[Row] = []
    known: dict[str, Row] = {}
    theirs = dict(plain.named_modules())
    for call in calls:
        progress.step(call.name)
        one, other = theirs[call.name], modules[call.name]
        key = f"{described(one, call)} {other!r}"
        if key not in known:
            known[key] = _row(call, one, other, training)
        rows.append(replace(known[key], name=call.name, calls=call.count))
    progress.step("the whole model")
    forward = _whole(plain, mine, example, gradients=False)
    both = _whole(plain, mine, example, gradients=True) if training else None
    progress.close()
    return Report(tuple(rows), forward, both, _is_channels_last(plain), conditions())


def _row(call: Call, plain: nn.Module, mine: nn.Module, training: bool) -> Row:
    spec = call.spec
    assert spec is not None
    channels_last = spec.channels_last or _is_channels_last(plain)
    forward = _times(call, plain, mine, channels_last, gradients=False)
    both = _times(call, plain, mine, channels_last, gradients=True) if training else None
    done = operations(mine, call, gradients=training)
    time = (both or forward).fastconv
    return Row(
        name=call.name,
        kind=type(plain).__name__,
        input=str(spec),
        calls=call.count,
        channels_last=channels_last,
        algorithm=algorithm(mine, call, gradients=training) if not isinstance(mine, Sequential) else "layers together",
        forward=forward,
        both=both,
        of_peak=done / time / peak(spec.dtype) if done else None,
    )


def _times(call: Call, plain: nn.Module, mine: nn.Module, channels_last: bool, *, gradients: bool) -> Times:
    assert call.spec is not None
    if len(call.spec.shape) != 4:
        theirs, ours = measuring.race(works([plain, mine], call, gradients))
        return Times(theirs, theirs, ours)
    other, layout = _in_the_other_layout(plain, channels_last)
    own, relaid, ours = measuring.race(works([plain, other, mine], call, gradients, [None, layout, None]))
    return Times(relaid, own, ours) if channels_last else Times(own, relaid, ours)


def _whole(plain: nn.Module, mine: nn.Module, example: Any, *, gradients: bool) -> Times:
    """Returns the model's times; torch's two are equal if it can't run in the other layout, as one with views."""
    channels_last = _is_channels_last(plain)
    other, layout = _in_the_other_layout(plain, channels_last)
    contestants = []
    for model, lay in ((plain, None), (mine, None), (other, layout)):
        args, kwargs = laid_out(arguments(example), lay)
        contestants.append(Work(model, args, kwargs, list(model.parameters()), gradients))
    try:
        with torch.set_grad_enabled(gradients):
            contestants[2].prepared()()
    except RuntimeError:
        del contestants[2]
    own, ours, *rest = measuring.race(contestants, seconds=WHOLE_SECONDS)
    relaid = rest[0] if rest else own
    return Times(relaid, own, ours) if channels_last else Times(own, relaid, ours)


def _in_the_other_layout(module: nn.Module, channels_last: bool) -> tuple[nn.Module, torch.memory_format]:
    layout = torch.contiguous_format if channels_last else torch.channels_last
    other: nn.Module = copy.deepcopy(module).to(memory_format=layout)  # type: ignore[call-overload]
    return other, layout


def _is_channels_last(module: nn.Module) -> bool:
    weights = [p for p in module.parameters() if p.ndim == 4 and not p.is_contiguous()]
    return any(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def _table(report: Report, title: str, of: Callable[[Any], Times | None], *, peaks: bool) -> str:
    lines: list[tuple[str, ...]] = [
        ("layer", "kind", "input", "calls", "algorithm", "torch", "channels_last", "fastconv", "speed", "of peak")
    ]
    for row in report.rows:
        share = f"{row.of_peak:.0%}" if peaks and row.of_peak is not None else ""
        about = (row.name, row.kind, row.input, str(row.calls), row.algorithm)
        lines.append((*about, *_numbers(of(row), row.channels_last), share))
    lines.append(("sum", "", "", "", "", *_numbers(report.sums(of), report.channels_last), ""))
    lines.append(("whole model", "", "", "", "", *_numbers(of(report), report.channels_last), ""))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = []
    for line in lines:
        cells = list(zip(line, widths, strict=True))
        left, right = [cell.ljust(width) for cell, width in cells[:5]], [cell.rjust(width) for cell, width in cells[5:]]
        texts.append("  ".join([*left, *right]).rstrip())
    head = f"{title}: milliseconds of a call; speed is over torch's in the model's layout, " + (
        "channels_last" if report.channels_last else "contiguous"
    )
    return "\n".join([head, *texts])


def _numbers(times: Times | None, channels_last: bool) -> tuple[str, ...]:
    if times is None:
        return "", "", "", ""
    seconds = (times.torch, times.torch_channels_last, times.fastconv)
    return *(f"{1e3 * each:.3f}" for each in seconds), f"{times.over_torch(channels_last=channels_last):.2f}"
