"""Networks that train as one program each way: results, gradients, statistics and errors are those of plain torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fastconv.threads import get_num_threads, set_num_threads
from tests.probes import by_fast_way
from tests.torch.graphs.compiling import assert_alike, compiled, trained

IMAGES = (2, 4, 8, 6)


class Net(nn.Module):
    """Layers of four channels, and a forward that a test gives."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.function = forward
        self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.n, self.m = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.depthwise, self.point = nn.Conv2d(4, 4, 3, 2, 1, groups=4, bias=False), nn.Conv2d(4, 4, 1)
        self.linear = nn.Linear(4, 4)

    def forward(self, *images: Tensor) -> Any:
        return self.function(self, *images)


def twins(forward: Callable[..., Any], change: Callable[[Net], Any] = lambda net: None) -> tuple[Net, Net]:
    theirs = Net(forward).double()
    change(theirs)
    return theirs, copy.deepcopy(theirs)


def step(model: Net, call: Callable[..., Any], images: list[Tensor], results: slice = slice(None)) -> list[Any]:
    """Returns all that a step of training gives; ``results`` are those that the loss reads."""
    model.zero_grad()
    images = [image.clone().requires_grad_() for image in images]
    y = call(*images)
    found = list(y) if isinstance(y, tuple) else [y]
    recorded = [each for each in found[results] if each.requires_grad]
    torch.stack([(each.sin() + each.square()).sum() for each in recorded]).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return [
        [each.detach() for each in found],
        [each.requires_grad for each in found],
        gradients,
        [x.grad for x in images],
        state,
    ]


def shuffled(x: Tensor, groups: int) -> Tensor:
    n, channels, h, w = x.shape
    return x.view(n, groups, channels // groups, h, w).transpose(1, 2).contiguous().view(n, channels, h, w)


def gate(net: Net, x: Tensor) -> Tensor:
    return torch.sigmoid(net.point(F.relu(net.point(F.adaptive_avg_pool2d(x, 1)))))


def gated_in_place(net: Net, x: Tensor) -> Any:
    y = F.silu(net.a(x))
    factors = gate(net, y)
    y *= factors
    return net.b(y), factors


def read_often(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    return net.b(y) + net.c(y) + F.relu(y) + torch.tanh(y) + torch.cat([y, y], 1)[:, 2:6] + x


def parts(net: Net, x: Tensor) -> Tensor:
    first, second = shuffled(net.a(x), 2).chunk(2, 1)
    one, _, two = torch.split(torch.cat([first, net.b(x), first], 1), [2, 4, 2], 1)
    return shuffled(torch.cat([one, second, two, second], 1), 4)


def several(net: Net, x: Tensor) -> Any:
    y = F.relu(net.n(net.a(x)))
    return y, F.relu(net.b(y)), net.linear(net.c(y).mean((2, 3)))


def residual(activation: Callable[[Tensor], Tensor]) -> Callable[[Net, Tensor], Tensor]:
    def forward(net: Net, x: Tensor) -> Tensor:
        y = activation(net.n(net.a(x)))
        z = activation(net.m(net.b(y)) + y)
        return activation(net.c(z) + z) + activation(x)

    return forward


def pooled(pool: Callable[[Tensor], Tensor]) -> Callable[[Net, Tensor], Tensor]:
    return lambda net, x: F.relu(net.n(pool(F.silu(net.a(x)) + x)))


def freeze(*names: str) -> Callable[[Net], Any]:
    def change(net: Net) -> None:
        for name in names:
            net.get_parameter(name).requires_grad = False

    return change


class Case(NamedTuple):
    """A network, and how it is trained."""

    forward: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...] = (IMAGES,)
    results: slice = slice(None)
    change: Callable[[Net], Any] = freeze()


ACTIVATIONS = "relu", "relu6", "leaky_relu", "tanh", "sigmoid", "silu", "hardswish", "hardsigmoid", "gelu"
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "pairs": lambda x: F.max_pool2d(x, 2),
    "overlapping": lambda x: F.max_pool2d(x, (2, 3), (3, 2), (1, 1), ceil_mode=True),
    "averages": lambda x: F.avg_pool2d(x, (2, 3)),
    "divisor": lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (4, None)),
}
CASES: dict[str, Case] = {
    "often": Case(read_often),
    "parts": Case(parts),
    "parts-one-image": Case(parts, ((1, 4, 3, 3),)),
    "several": Case(several),
    "several-first": Case(several, results=slice(1)),
    "several-last": Case(several, results=slice(2, None)),
    "frozen-prefix": Case(
        lambda net, x: several(net, x.detach()), change=freeze("a.weight", "a.bias", "n.weight", "n.bias")
    ),
    "frozen-vectors": Case(several, change=freeze("n.weight", "b.bias", "linear.weight")),
    "frozen": Case(several, change=lambda net: net.requires_grad_(requires_grad=False)),
    "gate": Case(lambda net, x: net.b((y := F.relu(net.a(x))) * gate(net, y))),
    "gate-first": Case(lambda net, x: net.b(gate(net, y := F.relu(net.a(x))) * y)),
    "gate-in-place": Case(gated_in_place),
    "gate-given": Case(lambda net, x, factors: net.a(x * factors), (IMAGES, (2, 4, 1, 1))),
    "itself": Case(lambda net, x: net.a(x + F.dropout(x, 0.0))),
    "depthwise": Case(lambda net, x: F.relu6(net.n(net.depthwise(F.relu(net.m(net.point(x))))), inplace=True)),
    "shared": Case(
        lambda net, x: net.linear(F.relu(net.linear(F.relu(net.a(F.relu(net.n(net.a(net.m(x)))))).mean([-1, -2]))))
    ),
    "tied-vectors": Case(lambda net, x: F.relu(F.batch_norm(net.a(x), None, None, net.b.bias, net.b.bias, True))),
    "no-vectors": Case(lambda net, x: net.b(F.relu(F.batch_norm(x, None, None, None, None, True, 0.3, 1e-3)))),
    "mixed-norms": Case(
        lambda net, x: F.relu(net.m(net.b(F.max_pool2d(net.n(net.a(x)), 3, 1, 1)))), change=lambda net: net.n.eval()
    ),
    "one-image": Case(several, ((1, 4, 5, 3),)),
    "features": Case(lambda net, x: (net.linear(net.c(x).mean((2, 3))), F.relu(net.a(F.relu(x))).flatten(1))),
    "nothing-saved": Case(lambda net, x: (y := torch.cat([x, x], 1), F.relu(y))),
    **{f"residual-{name}": Case(residual(getattr(F, name))) for name in ACTIVATIONS},
    **{f"pool-{name}": Case(pooled(pool)) for name, pool in POOLS.items()},
}


@pytest.mark.parametrize("name", CASES)
def test_step_of_training(name: str) -> None:
    case = CASES[name]
    theirs, mine = twins(case.forward, case.change)
    call = compiled(mine)
    with trained() as passes:
        for _ in range(2):
            images = [torch.randn(shape, dtype=torch.float64) for shape in case.shapes]
            assert_alike(step(mine, call, images, case.results), step(theirs, theirs, images, case.results))
    with torch.no_grad():
        assert_alike(call(*images), theirs(*images))
    assert (passes and all(passes)) or not by_fast_way(True)


def network(net: Net, x: Tensor) -> Tensor:
    return F.relu(net.m(net.b(F.relu(net.n(net.a(x)))) + net.point(x))).mean((2, 3))


IN_PLACE: dict[str, tuple[tuple[int, ...], Callable[[Net, Tensor], Tensor]]] = {
    "concatenation": ((1, 4, 5, 5), lambda net, x: torch.cat([y := F.relu(net.a(x)), F.relu(net.b(y))], 1)),
    "pool": (IMAGES, lambda net, x: F.max_pool2d(F.relu(net.b(F.relu(net.n(net.a(x))))), 2)),
    "flat-pool": (IMAGES, lambda net, x: F.max_pool2d(torch.tanh(net.b(F.relu(net.n(net.a(x))))), 2).flatten(1)),
    "relu6": (IMAGES, lambda net, x: F.relu6(net.m(net.b(F.relu(net.n(net.a(x))))) + x)),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_results_that_torch_does_not_save_may_change(name: str) -> None:
    shape, forward = IN_PLACE[name]
    theirs, mine = twins(forward)
    call, x = compiled(mine), torch.randn(shape, dtype=torch.float64)
    assert_alike(step(mine, lambda x: call(x).mul_(2), [x]), step(theirs, lambda x: theirs(x).mul_(2), [x]))


def test_a_saved_result_must_not_change() -> None:
    _, mine = twins(lambda net, x: F.relu(net.b(F.relu(net.n(net.a(x))))))
    y = compiled(mine)(torch.randn(IMAGES, dtype=torch.float64))
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("name", ["a.bias", "n.weight", "n.bias", "b.weight", "m.bias", "point.bias"])
def test_parameters_change_between_the_passes(name: str) -> None:
    found: list[Any] = []
    theirs, mine = twins(network)
    x = torch.randn(IMAGES, dtype=torch.float64)
    for model, call in ((theirs, theirs), (mine, compiled(mine))):
        loss = call(x).square().sum()
        with torch.no_grad():
            model.get_parameter(name).add_(1)
        try:
            loss.backward()
        except RuntimeError as error:
            found.append("modified by an inplace operation" in str(error))
        else:
            found.append([p.grad for p in model.parameters()])
    assert_alike(found[1], found[0])


def test_one_head_makes_its_step_first() -> None:
    theirs, mine = twins(lambda net, x: ((y := F.relu(net.n(net.a(x)))), F.relu(net.b(y)), F.relu(net.m(net.c(y)))))
    x = torch.randn(IMAGES, dtype=torch.float64)
    for model, call in ((mine, compiled(mine)), (theirs, theirs)):
        _, one, other = call(x)
        one.square().sum().backward(retain_graph=True)
        with torch.no_grad():
            model.b.weight.add_(1)
        other.square().sum().backward()
    assert_alike([p.grad for p in mine.parameters()], [p.grad for p in theirs.parameters()])


class Statistics(nn.Module):
    """Two normalisations that update the same statistics, of which one channel is not finite."""

    mean: Tensor
    var: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 3, padding=1)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("var", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.batch_norm(x, self.mean, self.var, None, None, True, 0.3))
        return F.relu(F.batch_norm(self.layer(y), self.mean, self.var, None, None, True, 0.2))


def test_statistics_are_updated_once_where_numbers_are_not_finite() -> None:
    theirs = Statistics().double()
    mine = copy.deepcopy(theirs)
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    for model in (theirs, mine):
        model.layer.weight.data[1, 0, 0, 0] = torch.inf
    with trained() as passes:
        found = [(call(x), model.mean, model.var) for model, call in ((mine, compiled(mine)), (theirs, theirs))]
    assert passes == [False] or not by_fast_way(True)
    assert_alike(found[0], found[1])


@pytest.mark.parametrize("inside", [False, True])
def test_gradients_that_are_not_finite_through_a_checkpoint(inside: bool) -> None:
    theirs, mine = twins(lambda net, x: checkpoint(network, net, x, use_reentrant=False) if inside else network(net, x))
    x = torch.randn(IMAGES, dtype=torch.float64)
    grad = torch.ones(2, 4, dtype=torch.float64)
    grad[0, 1] = torch.inf
    for call in (compiled(mine), theirs):
        (call(x) if inside else checkpoint(call, x, use_reentrant=False)).backward(grad)
    assert_alike([p.grad for p in mine.parameters()], [p.grad for p in theirs.parameters()])


def with_unread_layers(net: Net, x: Tensor) -> Tensor:
    return (net.c(F.relu(net.linear(x.mean((2, 3))).sum() + x)), network(net, x))[1]


def test_gradients_of_gradients() -> None:
    theirs, mine = twins(with_unread_layers)
    x = torch.randn(IMAGES, dtype=torch.float64, requires_grad=True)
    found: list[Any] = []
    for model, call in ((mine, compiled(mine)), (theirs, theirs)):
        (grad,) = torch.autograd.grad(call(x).square().sum(), x, create_graph=True)
        grad.square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    assert_alike(found[0], found[1], 1e-7)


def test_ways_to_train() -> None:
    """Sizes, threads, other grad modes, accumulated gradients and hooks change from step to step."""
    theirs, mine = twins(network)
    subjects: list[tuple[Net, Callable[..., Tensor]]] = [(mine, compiled(mine)), (theirs, theirs)]
    threads = get_num_threads()
    try:
        for number, images in enumerate((2, 5, 1, 3, 7, 4, 2)):
            x = torch.randn(images, *IMAGES[1:], dtype=torch.float64)
            for model, call in subjects:
                set_num_threads(1 + number % 3)
                with torch.autograd.graph.save_on_cpu():
                    y = call(x.to(memory_format=torch.channels_last) if number == 3 else x)
                y.register_hook(lambda grad: grad * 2)
                set_num_threads(1 + number % 2)
                y.square().sum().backward(retain_graph=True)
                y.sum().backward()
                with torch.inference_mode(number % 2 == 0), torch.no_grad():
                    call(x)
                model.load_state_dict({name: 0.9 * each for name, each in model.state_dict().items()})
    finally:
        set_num_threads(threads)
    assert_alike(mine.state_dict(), theirs.state_dict())
    assert_alike([p.grad for p in mine.parameters()], [p.grad for p in theirs.parameters()])


def test_a_weight_that_is_an_image_too() -> None:
    def forward(x: Tensor, w: Tensor) -> Tensor:
        y = F.conv2d(F.relu(F.conv2d(x, w, padding=1)), w, padding=1)
        return y + F.relu(F.max_pool2d(F.conv2d(w, w, padding=1), 3, 1, 1)).mean((0, 2, 3), keepdim=True)

    x, found = torch.randn(IMAGES, dtype=torch.float64), []
    weight = torch.randn(4, 4, 3, 3, dtype=torch.float64)
    for call in (compiled(forward), forward):
        w = weight.clone().requires_grad_()
        (grad,) = torch.autograd.grad(call(x, w).sin().sum(), w, create_graph=True)
        found.append((grad.detach(), *torch.autograd.grad(grad.square().sum(), w)))
    assert_alike(found[0], found[1], 1e-7)
