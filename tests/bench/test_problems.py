"""The table of problems: names, sets, figures, texts; and its layers on every backend."""

from __future__ import annotations

import pytest

from fastconv.bench import contestants, truth
from fastconv.bench.operands import on_cpu
from fastconv.bench.problems import PROBLEMS, SETS, Problem, ProblemError, parse, select


def test_names_are_unique_and_every_set_has_problems() -> None:
    names = [problem.name for problem in PROBLEMS]
    assert len(set(names)) == len(names)
    assert {"mnist", "resnet50", "vgg16", "mobilenet", "smoke"} <= set(SETS)
    assert all(select([name]) for name in SETS)


def test_known_figures() -> None:
    """ResNet-50's first 3x3 layer does 231 million flops an image; LeNet-5's first has 28 x 28 results."""
    (layer,) = [problem for problem in PROBLEMS if problem.name == "resnet50.2b_n8"]
    assert layer.flops("forward") == 8 * 2 * 64 * 64 * 9 * 56 * 56
    assert layer.flops("backward") == 2 * layer.flops("input")
    assert layer.bytes("forward") == 4 * (2 * 8 * 64 * 56 * 56 + 64 * 64 * 9)
    assert layer.bytes("backward") == 4 * (3 * 8 * 64 * 56 * 56 + 2 * 64 * 64 * 9)
    (first,) = [problem for problem in PROBLEMS if problem.name == "lenet5.conv1_n100"]
    assert first.geometry.output_shape == (100, 6, 28, 28)
    (pooling,) = [problem for problem in PROBLEMS if problem.name == "smoke.max_n4"]
    assert pooling.bytes("backward") == pooling.bytes("forward") + 8 * 4 * 16 * 14 * 14


def test_the_networks_layers_are_those_of_the_table() -> None:
    """The layers of the table's networks in batches of 1, 32 and 100, with the shapes that they really have."""
    import torch

    from fastconv.models import networks
    from fastconv.torch import Conv2d

    listed = {problem.name.partition(".")[0] for problem in PROBLEMS if "mnist" in problem.sets}
    assert {"lenet5", "simple_convnet", "dropout_cnn", "two_layer_cnn"} == listed <= set(networks.names())
    for network in sorted(listed):
        model = networks.load(network).build((1, 28, 28), 10, "im2col")
        for name, layer in model.named_modules():
            if isinstance(layer, Conv2d):
                seen: list[torch.Size] = []
                layer.register_forward_hook(lambda _, x, y, seen=seen: seen.extend([x[0].shape, y.shape]))
                for batch in (1, 32, 100):
                    model(torch.zeros(batch, 1, 28, 28))
                    (problem,) = [p for p in PROBLEMS if p.name == f"{network}.{name}_n{batch}"]
                    assert problem.geometry.input_shape == tuple(seen[-2])
                    N, K, P, Q = problem.geometry.output_shape
                    by = 2 if getattr(layer, "pool", None) else 1
                    assert tuple(seen[-1]) == (N, K, P // by, Q // by)
                    assert problem.geometry.weight_shape == tuple(layer.weight.shape)


def test_a_text_describes_a_problem() -> None:
    problem = parse("N=8 C=64 H=56 K=128 R=3 stride=2 padding=1 groups=2")
    assert problem.name == "C64_H56_K128_R3_stride2_padding1_groups2_n8"
    assert problem.geometry.output_shape == (8, 128, 28, 28)
    assert problem.geometry.weight_shape == (128, 32, 3, 3)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "N, C, H, K, R are missing; N, C, H, K, R are needed"),
        ("N=8 C=3 H=5 K=1", "R is missing; N, C, H, K, R are needed"),
        ("N=8 C=x H=5 K=1 R=3", "C is 'x', but must be a whole number from 1 to 2147483647"),
        (f"N={'9' * 5000} C=3 H=5 K=1 R=3", "N is '9999.*, but must be a whole number from 1"),
        ("N=8 C= H=5 K=1 R=3", "C is '', but must be"),
        ("N=8 C=3.5 H=5 K=1 R=3", "C is '3.5', but must be"),
        ("N=8 C=-3 H=5 K=1 R=3", "C is '-3', but must be"),
        ("N=8 C=3 H=5 K=0 R=3", "K is '0', but must be a whole number from 1 to 2147483647"),
        ("N=8 C=3 H=5 K=1 R=3 padding=-1", "padding is '-1', but must be a whole number from 0 to"),
        ("N=8 C=3 H=5 K=1 R=3 padding=1,2", "'2' is no field with a number; write NAME=NUMBER, such as N=8"),
        ("N=8 C=3 H=5 K=1 R=3 depth=2", "no field is called 'depth'; they are N, C, H, K, R, W, S, stride, padding,"),
        ("n=8 C=3 H=5 K=1 R=3", "no field is called 'n'; they are N,"),
        ("N=8 C=3 H=5 K=1 R=3 N=4", "N is given twice, as 8 and as 4"),
        ("N=8 C=3 H=5 K=4 R=3 groups=2", "groups is 2, but must divide C, which is 3"),
        ("N=8 C=4 H=5 K=3 R=3 groups=2", "groups is 2, but must divide K, which is 3"),
        ("N=8 C=3 H=5 K=4 R=7", "R is 7, with which the kernel reaches over 7 pixels; H and padding allow 5"),
        ("N=8 C=3 H=9 W=3 K=4 R=3 padding=1 dilation=3", "S is 3, .* reaches over 7 pixels; W and padding allow 5"),
        (f"N={10**9} C={10**9} H=5 K=4 R=3", "bytes; at most 5e\\+18"),
    ],
)
def test_a_wrong_text_is_refused(text: str, match: str) -> None:
    with pytest.raises(ProblemError, match=match):
        parse(text)


def test_unknown_set() -> None:
    with pytest.raises(ProblemError, match="no set is called vgg; the sets are all, "):
        select(["vgg"])


SMALL = [p.at_batch(1) for p in PROBLEMS if p.flops("forward") / p.geometry.N < 6e7 and p.name.endswith(("_n1", "_n8"))]


@pytest.mark.parametrize("problem", SMALL, ids=lambda problem: problem.name)
def test_every_backend_does_the_small_layers(problem: Problem, backend: str) -> None:
    operands = on_cpu(problem)
    contestant = contestants.make(f"fastconv.{backend}", threads=1)
    for operation in problem.operations:
        result = contestant.arrays(contestant.prepare(problem, operation, operands)())
        right, most = truth.expected(problem, operation, operands), truth.allowed(problem, operation)
        assert truth.fault(result, right, most) is None
