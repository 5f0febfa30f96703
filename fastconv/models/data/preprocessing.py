"""One rule says how a picture becomes an image in training, testing and predicting; each run keeps its own."""

from __future__ import annotations

from dataclasses import dataclass

DIGIT, WHOLE_DIGIT, PICTURE = "digit", "whole digit", "picture"
SUBJECTS = (DIGIT, WHOLE_DIGIT, PICTURE)
OF_DATASETS = {"mnist": DIGIT, "digits": WHOLE_DIGIT}
"""Subjects of the named data sets; all others show pictures, whose shades and places count."""
DIGITS_SIDE = 28
"""Pixels of the images of both data sets of digits, before any scaling."""


@dataclass(frozen=True)
class Preprocessing:
    """A picture is brought to bytes of (channels, height, width), then scaled and normalised by a Preparation.

    ``subject`` says how. A "picture" is turned upright and laid on white, and its middle is taken. A "digit" is told
    from its ground, made light on dark and fitted into MNIST's box of 20 x 20; a "whole digit" fills the image.
    """

    subject: str
    channels: int
    height: int
    width: int


def assumed(dataset: str, shape: tuple[int, int, int]) -> Preprocessing:
    """Returns the rule for a run without a recorded one: its data set's, and for pictures the size that its network
    reads."""
    if dataset in OF_DATASETS:
        return Preprocessing(OF_DATASETS[dataset], 1, DIGITS_SIDE, DIGITS_SIDE)
    return Preprocessing(PICTURE, *shape)
