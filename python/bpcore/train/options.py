"""The arguments of `fit`."""

from __future__ import annotations

from typing import Any

from ..base import checks
from ..base.progress import verbosity
from ..data.batches import Batches
from ..data.dataset import batch_size_of
from .windows import truncation


class Options:
    """The arguments of `fit`, checked before any work."""

    def __init__(
        self,
        batch_size: Any,
        epochs: Any,
        verbose: Any,
        validation_split: Any,
        shuffle: Any,
        initial_epoch: Any,
        steps_per_epoch: Any,
        validation_steps: Any,
        validation_batch_size: Any,
        validation_freq: Any,
        checkpoint: Any = None,
        checkpoint_every: Any = None,
        bptt: Any = None,
    ) -> None:
        self.batch_size = batch_size
        batch_size_of(batch_size, 1)
        self.epochs = checks.integer("epochs", epochs, 0)
        self.verbose = verbosity(verbose)
        self.split = checks.real("validation_split", validation_split, 0.0, 1.0, open_high=True)
        self.shuffle = checks.boolean("shuffle", shuffle)
        self.initial_epoch = checks.integer("initial_epoch", initial_epoch, 0)
        self.steps = _optional("steps_per_epoch", steps_per_epoch)
        self.validation_steps = _optional("validation_steps", validation_steps)
        self.validation_freq = checks.integer("validation_freq", validation_freq)
        self.validation_batch_size = 1024
        if validation_batch_size is not None:
            self.validation_batch_size = checks.integer(
                "validation_batch_size", validation_batch_size
            )
        self.checkpoint_every = _optional("checkpoint_every", checkpoint_every)
        if checkpoint is None and checkpoint_every is not None:
            raise ValueError("checkpoint_every needs checkpoint, the path of the file; got None")
        self.checkpoint = None if checkpoint is None else checks.path(checkpoint)
        self.bptt = truncation(bptt)

    def refuse_with_batches(self, *given: Any) -> None:
        """Raise for what needs arrays; `given`: sample_weight, class_weight and mask."""
        if self.checkpoint is not None:
            raise ValueError(
                "checkpoint needs arrays, got an iterable of batches, which cannot be taken up in "
                "the middle; give arrays or memmaps, or call save_checkpoint from a callback"
            )
        if self.split or any(one is not None for one in given):
            raise ValueError(
                "validation_split, sample_weight, class_weight and mask need arrays; give weights "
                "as the third item of each batch, and a mask as the fourth"
            )
        if self.bptt is not None:
            raise ValueError("bptt needs arrays or lists of sequences, got an iterable of batches")

    def lasting(self, batches: Batches, validation: bool = False) -> Batches:
        """Batches for training, or for validation, that may be enough for all epochs.

        Raises
        ------
        ValueError
            They come from an iterator, of which the first epoch would take all.
        """
        every = self.validation_freq if validation else 1
        steps = self.validation_steps if validation else self.steps
        times = self.epochs // every - self.initial_epoch // every
        if batches.once and steps is None and times > 1:
            option = "validation_steps" if validation else "steps_per_epoch"
            raise ValueError(
                f"{batches.name} is an iterator, of which the first epoch would take all, and "
                f"{times} epochs read it; pass {option}, or an object that starts anew at each "
                "iter(), or arrays"
            )
        return batches


def _optional(name: str, value: Any) -> int | None:
    return None if value is None else checks.integer(name, value)
