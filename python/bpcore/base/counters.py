"""How far a model has come: the numbers that, with its seed, decide what is drawn next."""

from __future__ import annotations

from .. import _core
from .carried import Carried


class Counters:
    """A model's own; nothing else of it is counted.

    Attributes
    ----------
    stream : int
        Streams of random numbers that its layers have taken so far.
    epochs_done : int
        Epochs trained so far, by all calls of `fit`; shuffles follow from it.
    core : _core.Counter
        Where the core counts `draws`.
    carried : Carried
        States of recurrent layers that go on from batch to batch; a copy begins with zeros.
    """

    def __init__(self, stream: int = 0, epochs_done: int = 0, draws: int = 0) -> None:
        self.stream, self.epochs_done = stream, epochs_done
        self.core = _core.Counter(draws)
        self.carried = Carried()

    @property
    def draws(self) -> int:
        """Training batches so far; random layers depend on it."""
        return self.core.value

    @draws.setter
    def draws(self, count: int) -> None:
        self.core.value = count

    def next_stream(self) -> int:
        """The number of a stream that nobody has."""
        self.stream += 1
        return self.stream - 1

    def __reduce__(self) -> tuple[type, tuple[int, int, int]]:
        return Counters, (self.stream, self.epochs_done, self.draws)
