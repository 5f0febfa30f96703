"""A run trains epoch after epoch, and keeps each in the run folder before the next begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from rich.console import Console

from fastconv.models.data.dataset import Dataset
from fastconv.models.errors import ModelsError, StoppedError
from fastconv.models.training import checkpoint
from fastconv.models.training.batches import Batches
from fastconv.models.training.distributed import Group
from fastconv.models.training.holding_out import hold_out
from fastconv.models.training.loop import begin, epoch_steps, score
from fastconv.models.training.position import Epoch, Position
from fastconv.models.training.precision import weight_type
from fastconv.models.training.progress import TrainingProgress
from fastconv.models.training.run_folder import CHECKPOINT, WEIGHTS, RunFolder
from fastconv.models.training.settings import Settings
from fastconv.models.training.stopping import StopWish


class Run:
    """One training of ``settings`` on ``dataset``, at its beginning.

    Raises ModelsError for images that the network isn't made for, can't be moved so far, or are too few to hold some
    out.
    """

    def __init__(self, settings: Settings, dataset: Dataset, console: Console, group: Group) -> None:
        kept, self._held = hold_out(_placed(dataset, settings), settings.validation, settings.seed)
        self.training = begin(settings, dataset.shape, len(dataset.classes), group)
        self.batches = Batches(settings, kept, group)
        self.position = Position()
        self._settings, self._data, self._console, self._group = settings, kept, console, group

    def enter(self, folder: RunFolder, identity: Mapping[str, object]) -> None:
        """Go on from the checkpoint in ``folder``, if there is one, and remove there what came after it.

        Raises ModelsError for a checkpoint that isn't of the run of this ``identity``, and for fewer epochs than done.
        """
        content = self._group.spread(folder.checkpoint())
        length = 0
        if content:
            path = folder.path / CHECKPOINT
            self.position, length = checkpoint.restore(content, path, self.training, identity)
        done, wanted = self.position, self._settings.recipe.epochs
        least = len(done.epochs) + (done.step > 0)
        if wanted < least:
            begun = f", and epoch {done.epoch} is begun" if done.step else ""
            raise ModelsError(
                f"{folder.path}: {len(done.epochs)} epochs are done already{begun}; --epochs must be {least} or more"
            )
        folder.cut_log(length)
        if done.epochs and not done.step:
            self._keep_weights(folder)

    def go(self, folder: RunFolder, identity: Mapping[str, object], wish: StopWish) -> None:
        """Train to the end.

        Raises StoppedError after the step in which ``wish`` is made, with all kept, and on a second Ctrl-C at once.
        """
        try:
            self._train(folder, identity, wish)
        except KeyboardInterrupt:
            there = (folder.path / CHECKPOINT).exists()
            kept = f"go on from its last checkpoint with --resume {folder.path}" if there else "nothing was kept"
            raise StoppedError(f"stopped at once; {kept}") from None
        folder.log(event="end", epochs=len(self.position.epochs))

    def _train(self, folder: RunFolder, identity: Mapping[str, object], wish: StopWish) -> None:
        recipe, position, batches = self._settings.recipe, self.position, self.batches
        label = f"{self._settings.network}-{self._settings.backend}"
        images = len(self._data.train_labels)
        done = len(position.epochs) * images + position.images
        with TrainingProgress(self._console, label, recipe.epochs * images, done) as progress:
            while not self.over:
                title = f"epoch {position.epoch}/{recipe.epochs}"
                progress.describe(title)
                for step in epoch_steps(self.training, batches, position.epoch, position.step, wish):
                    position.count(step)
                    folder.log(event="step", epoch=position.epoch, step=position.step, **step._asdict())
                    progress.advance(step.images, step.loss)
                    if wish.agreed:
                        self._save(folder, identity)
                        self._group.wait()  # until it is there
                        raise StoppedError(
                            f"stopped in {self._where()}; go on with --resume {folder.path}", wish.signal
                        )
                progress.describe(f"{title}, testing")
                epoch = self._finish_epoch()
                folder.log(event="epoch", **{name: value for name, value in asdict(epoch).items() if value is not None})
                self._save(folder, identity)
                self._keep_weights(folder)
                progress.say(_line(title, epoch))

    @property
    def held(self) -> int:
        """Returns the number of images held out for validation."""
        return len(self._held.labels) if self._held else 0

    @property
    def over(self) -> bool:
        """Returns True if nothing is left to train."""
        return self.position.over(self._settings.recipe.epochs, self._settings.patience)

    @property
    def standing(self) -> str:
        """Returns a text that says how far the training is."""
        recipe, position = self._settings.recipe, self.position
        if not self.over:
            return f"goes on in {self._where()}"
        early = ", the last ones no better" if len(position.epochs) < recipe.epochs else ""
        return f"is finished, {len(position.epochs)} epochs{early}"

    def _where(self) -> str:
        return f"epoch {self.position.epoch} of {self._settings.recipe.epochs}, after step {self.position.step}"

    def _finish_epoch(self) -> Epoch:
        model, group, data, held = self.training.model, self._group, self._data, self._held
        validation = score(model, held.images, held.labels, group) if held else None
        return self.position.finish(score(model, data.test_images, data.test_labels, group), validation)

    def _save(self, folder: RunFolder, identity: Mapping[str, object]) -> None:
        if self._group.leads:
            length = folder.log_length()
            folder.save_checkpoint(checkpoint.pack(self.training, self.position, identity, length))

    def _keep_weights(self, folder: RunFolder) -> None:
        """Write the weights of the last epoch, if they are the ones to keep; its checkpoint, which holds them too,
        comes first."""
        if self.position.kept().number == len(self.position.epochs):
            folder.save_weights(self.training.model.state_dict())
        elif not folder.has_weights:
            raise ModelsError(
                f"{folder.path / WEIGHTS}: those of epoch {self.position.kept().number} are gone; put them back"
            )


def _placed(dataset: Dataset, settings: Settings) -> Dataset:
    """Returns the images on the settings' device, in the data type of the weights."""
    device, dtype = settings.device, weight_type(settings.precision)
    return replace(
        dataset,
        train_images=dataset.train_images.to(device, dtype),
        train_labels=dataset.train_labels.to(device),
        test_images=dataset.test_images.to(device, dtype),
        test_labels=dataset.test_labels.to(device),
    )


def _line(title: str, epoch: Epoch) -> str:
    held = "" if epoch.validation_loss is None else f"validation loss {epoch.validation_loss:.4f}  "
    return (
        f"{title}  loss {epoch.train_loss:.4f}  {held}test accuracy {epoch.test_accuracy:.2%}  "
        f"{epoch.images_per_second:,.0f} images/s  {epoch.seconds:.1f} s"
    )
