"""Size and channels of images, and that it makes no difference when they are prepared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from fastconv.models.data import images, load
from fastconv.models.data.dataset import Dataset, prepare
from fastconv.models.data.form import Form
from fastconv.models.data.images import OnDemand, Preparation
from fastconv.models.data.split import Split
from fastconv.models.errors import ModelsError
from fastconv.models.training.batches import Batches
from fastconv.models.training.compare import compare
from fastconv.models.training.loop import begin, epoch_steps, score
from fastconv.models.training.settings import settings

AS_THEY_ARE = {"mean": 0.0, "deviation": 1 / 255}
"""A normalisation that leaves 0..255."""


def split(*shape: int) -> Split:
    random = np.random.default_rng(len(shape))
    return Split(random.integers(0, 256, shape, np.uint8), np.arange(shape[0], dtype=np.uint8) % 2)


def pixels(dataset: Dataset, images: torch.Tensor) -> torch.Tensor:
    return (images * dataset.deviation + dataset.mean) * 255


def test_enlarging_goes_through_the_old_pixels() -> None:
    """Bilinear, by hand: the middle of an old pixel lies between two new ones; beyond the outer ones it is constant."""
    image = torch.tensor([[0, 200]], dtype=torch.uint8).expand(1, 1, 2, 2)
    large = Preparation((1, 4, 4), **AS_THEY_ARE)(image)
    torch.testing.assert_close(large[0, 0], torch.tensor([0.0, 50, 150, 200]).expand(4, 4))


def test_shrinking_looks_at_every_pixel() -> None:
    """One bright pixel anywhere changes the result, and constant images stay what they are."""
    shrink = Preparation((1, 4, 4), **AS_THEY_ARE)
    torch.testing.assert_close(shrink(torch.full((1, 1, 20, 20), 9, dtype=torch.uint8)), torch.full((1, 1, 4, 4), 9.0))
    spots = torch.zeros(400, 1, 20, 20, dtype=torch.uint8)
    spots.view(400, 400).fill_diagonal_(255)
    assert (shrink(spots).amax((1, 2, 3)) > 1).all()


def test_only_the_middle_square_is_scaled() -> None:
    """Whether images are scaled in one go or not at all: what is outside the square is never looked at."""
    wide = split(6, 10, 17)
    square = Split(wide.images[:, :, 3:13], wide.labels)
    for size in (10, 15, 4):
        one, other = (prepare("a", some, some, form=Form(size)) for some in (wide, square))
        assert torch.equal(one.train_images[:], other.train_images[:])
        assert one.shape == (1, size, size)
        assert (one.mean, one.deviation) == (other.mean, other.deviation)


def test_size_of_their_own_is_left_alone() -> None:
    some = split(5, 9, 9)
    assert torch.equal(prepare("a", some, some, form=Form(9)).train_images[:], prepare("a", some, some).train_images[:])
    assert prepare("a", split(5, 9, 8), split(4, 9, 8)).shape == (1, 9, 8)


def test_grey_is_repeated_in_three_channels() -> None:
    some = split(5, 9, 9)
    grey, three = (prepare("a", some, some, form=Form(None, channels)) for channels in (None, 3))
    assert three.shape == (3, 9, 9)
    assert torch.equal(three.train_images[:], grey.train_images[:].repeat(1, 3, 1, 1))
    assert three.train_images[:].is_contiguous()
    assert (three.mean, three.deviation) == (grey.mean, grey.deviation)


def test_colours_are_kept_apart() -> None:
    train, test = split(7, 3, 6, 5), split(4, 3, 6, 5)
    dataset = prepare("a", train, test)
    assert dataset.shape == (3, 6, 5)
    np.testing.assert_allclose(pixels(dataset, dataset.test_images[:]), test.images, atol=1e-3)


@pytest.mark.parametrize("form", [Form(), Form(12), Form(5, 3), Form(None, 3)], ids=str)
def test_the_time_of_preparation_makes_no_difference(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, in batches of any size and order."""
    train, test = split(31, 9, 11), split(8, 9, 11)
    now = prepare("a", train, test, form=form)
    monkeypatch.setattr(images, "PREPARED_BYTES", 0)
    later = prepare("a", train, test, form=form)
    assert isinstance(now.train_images, torch.Tensor)
    assert isinstance(later.train_images, OnDemand)
    assert len(later.train_images) == 31
    assert later.train_images.shape == now.train_images.shape
    assert later.shape == now.shape
    order = torch.randperm(31, generator=torch.Generator().manual_seed(0))
    for batch in (order[:1], order[3:20], order, slice(0, 1), slice(4, 29), slice(30, 99)):
        assert torch.equal(later.train_images[batch], now.train_images[batch])
    assert torch.equal(later.test_images[:], now.test_images)


def test_only_what_is_small_is_prepared_before() -> None:
    """Each split for itself; of a million images' worth of memory a single zero is there."""
    some = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    most = images.PREPARED_BYTES // (3 * 32 * 32 * 4)
    preparation = Preparation((3, 32, 32), 0.5, 1.0)
    assert isinstance(images.images_of(some.expand(most + 1, 1, 32, 32), preparation), OnDemand)
    train, test = split(40, 8, 8), split(20, 8, 8)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(images, "PREPARED_BYTES", 20 * 64 * 4)
        dataset = prepare("a", train, test)
    assert isinstance(dataset.train_images, OnDemand)
    assert isinstance(dataset.test_images, torch.Tensor)


def test_training_and_testing_are_the_same(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses of every step and of the test, to the bit, and the comparison takes them too."""

    def losses() -> list[float]:
        whole = load("digits", None, console, 32, 3)
        dataset = replace(whole, train_labels=whole.train_labels[:250], test_labels=whole.test_labels[:200])
        chosen = settings("lenet5", "torch")
        training = begin(chosen, dataset.shape, len(dataset.classes))
        found = [step.loss for step in epoch_steps(training, Batches(chosen, dataset), 1)]
        (one,) = compare(settings("lenet5", "torch"), dataset, 0.0, console, ["torch"])
        assert one.trouble is None
        return [*found, *score(training.model, dataset.test_images, dataset.test_labels), one.steps[0].loss]

    now = losses()
    monkeypatch.setattr(images, "PREPARED_BYTES", 0)
    assert losses() == now
    assert len(set(now)) == 5


@pytest.mark.parametrize(("size", "channels"), [(0, None), (-1, None), (1025, None), (None, 2), (None, 0), (28, 4)])
def test_other_forms_are_refused(console: Console, size: int | None, channels: int | None) -> None:
    with pytest.raises(ModelsError, match=r"size of images is .* at most 1,024|channels is .* 1, for grey, or 3"):
        load("digits", None, console, size, channels)
