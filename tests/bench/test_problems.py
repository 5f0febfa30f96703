"""The table of problems: names, sets, figures, texts; and its layers on every backend."""

from __future__ import annotations

import pytest

from fastconv.bench import contestants, truth
from fastconv.bench.devices.cpu import Cpu
from fastconv.bench.entrant import Entrant
from fastconv.bench.operands import on_cpu
from fastconv.bench.problems import PROBLEMS, SETS, Problem, ProblemError, parse, select
from fastconv.bench.results import Limit


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


def test_a_mistake_in_a_text_is_named() -> None:
    with pytest.raises(ProblemError, match=r"^problem 'N=1 C=2 .*': stride is '2x', but must be a whole number"):
        parse("N=1 C=2 H=6 K=2 R=3 stride=2x")


VARIED = [
    "N=2 C=4 H=9 W=8 K=6 R=3 S=2 stride=2x1 padding=1x2 dilation=1x2 groups=2",
    "N=2 C=4 H=9 K=6 R=3 padding=0x1x2x0",
    "pool=max N=2 C=4 H=9 R=3 stride=2x1 padding=1 ceil_mode=1",
    "pool=max N=2 C=4 H=9 R=3 S=2 dilation=2",
    "pool=avg N=2 C=4 H=9 W=8 R=3 S=2 stride=2 padding=1 ceil_mode=1 count_include_pad=0",
    "pool=avg N=2 C=4 H=9 R=3 divisor_override=5",
]
KINDS = ["dtype=float64", "dtype=float16", "dtype=bfloat16 layout=channels_last", "layout=channels_last"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", VARIED)
def test_what_texts_describe_is_timed_and_right(text: str, kind: str) -> None:
    """Every contestant that does such a problem gives the right result, in this data type; the others say so."""
    problem = parse(f"{text} {kind}")
    operands = on_cpu(problem)
    assert str(operands.x.dtype).endswith(problem.dtype)
    for operation in problem.operations:
        right, most = truth.expected(problem, operation, operands), truth.allowed(problem, operation)
        for name in ("fastconv.im2col", "fastconv.numba", "torch", "torch.channels_last", "onnxruntime"):
            answer, trouble = Entrant(name, Cpu(), 1).ask("prepare", problem, operation)
            if name == "onnxruntime" or (name, problem.layout) == ("torch.channels_last", "channels_last"):
                assert trouble.startswith("not offered: ")
            else:
                assert trouble is None
                assert truth.fault(answer[0], right, most) is None


def test_figures_of_other_data_types() -> None:
    single, double = parse("N=8 C=64 H=56 K=64 R=3"), parse("N=8 C=64 H=56 K=64 R=3 dtype=float64")
    assert double.bytes("forward") == 2 * single.bytes("forward")
    limit = Limit(1e9, {2**40: 1e18})
    assert limit.floor(10**9, 1, "float64") == 2 * limit.floor(10**9, 1)
    assert double.name == "C64_H56_K64_R3_dtypefloat64_n8"
    assert parse("N=8 C=64 H=56 K=64 R=3 op=weight").operations == ("weight",)


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
