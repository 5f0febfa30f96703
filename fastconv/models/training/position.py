"""The position says how far a training is: the finished epochs, and the sums of the one under way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fastconv.models.training.loop import Step


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch: mean training loss, loss and accuracy (0..1) on the test images, and speed.

    It has the same of the images held out, or None if there are none. ``seconds`` are those of the training steps;
    testing is not in them.
    """

    number: int
    train_loss: float
    test_loss: float
    test_accuracy: float
    seconds: float
    images_per_second: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass
class Position:
    """``step`` steps of the epoch after ``epochs``, and their sums: ``loss`` is that of every image."""

    epochs: list[Epoch] = field(default_factory=list)
    step: int = 0
    loss: float = 0.0
    images: int = 0
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """Returns the number of the epoch under way, or of the next."""
        return len(self.epochs) + 1

    def count(self, step: Step) -> None:
        """Count one more step."""
        self.step += 1
        self.loss += step.loss * step.images
        self.images += step.images
        self.seconds += step.seconds

    def finish(self, test: tuple[float, float], validation: tuple[float, float] | None) -> Epoch:
        """Returns the finished epoch, given accuracy and loss on the test images and on those held out."""
        (accuracy, loss), (held_accuracy, held_loss) = test, validation or (None, None)
        speed = self.images / self.seconds
        epoch = Epoch(
            self.epoch, self.loss / self.images, loss, accuracy, self.seconds, speed, held_loss, held_accuracy
        )
        self.epochs.append(epoch)
        self.step, self.loss, self.images, self.seconds = 0, 0.0, 0, 0.0
        return epoch

    def kept(self) -> Epoch:
        """Returns the epoch whose weights are kept: the first with the lowest validation loss; the last if none is held
        out."""
        if self.epochs[-1].validation_loss is None:
            return self.epochs[-1]
        return min(self.epochs, key=_validation_loss)

    def over(self, epochs: int, patience: int | None) -> bool:
        """Returns True if all of ``epochs`` are done, or none of the last ``patience`` was better than all before."""
        if len(self.epochs) >= epochs:
            return True
        return patience is not None and bool(self.epochs) and len(self.epochs) - self.kept().number >= patience


def _validation_loss(epoch: Epoch) -> float:
    """Returns the validation loss to compare by; one that is NaN counts as infinite."""
    loss = epoch.validation_loss
    return math.inf if loss is None or math.isnan(loss) else loss
